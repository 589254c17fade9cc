"""Files are uploaded as the real client and Node send them, listed, read and deleted; wrong ones are refused."""

import base64
import io
import json
import os
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import openai
import pytest

from sentiment_ray.openai_api.files import FINE_TUNE_RESULTS, add_result_file, get_path
from sentiment_ray.openai_api.ids import make_id, now_s
from sentiment_ray.openai_api.tables import Job
from tests.openai_api.running import Answer, RunningService, add_job, get_project_id, run_service

DATA = b'{"messages": []}\n'
BOUNDARY = "----node-1234"


def make_part(name: str, value: bytes, filename: str | None = None) -> bytes:
    ending = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{ending}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def make_form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


FILE_PART = make_part("file", DATA, "train.jsonl")
PURPOSE_PART = make_part("purpose", b"fine-tune")
HEADERS = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def upload(service: RunningService, key: str, *parts: bytes, retry: int = 0) -> Answer:
    headers = {**HEADERS, "x-stainless-retry-count": str(retry)}
    return service.ask("POST", "/v1/files", make_form(*parts), headers, key=key)


def test_the_client_uploads_lists_reads_and_deletes_a_file(client: openai.OpenAI) -> None:
    file = client.files.create(file=("träin.jsonl", io.BytesIO(DATA)), purpose="fine-tune")
    assert (file.filename, file.bytes, file.purpose, file.status) == (
        "träin.jsonl",
        len(DATA),
        "fine-tune",
        "processed",
    )
    assert abs(file.created_at - now_s()) < 60 and file.id.startswith("file-")
    assert client.files.wait_for_processing(file.id) == file == client.files.retrieve(file.id)
    assert client.files.content(file.id).read() == DATA
    assert [each.id for each in client.files.list()] == [file.id]
    assert client.files.delete(file.id).deleted
    assert not list(client.files.list())
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError, match=f"No such File object: {file.id}"):
            call(file.id)


def test_nodes_upload_has_the_file_first_and_no_length(state_service: RunningService, key: str) -> None:
    body = make_form(FILE_PART, PURPOSE_PART)
    connection = HTTPConnection("127.0.0.1", state_service.port, timeout=30)
    headers = {**HEADERS, "authorization": f"Bearer {key}"}
    pieces = (body[start : start + 7] for start in range(0, len(body), 7))
    connection.request("POST", "/v1/files", pieces, headers, encode_chunked=True)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    assert (response.status, answer["bytes"], answer["purpose"]) == (200, len(DATA), "fine-tune")
    assert state_service.ask("GET", f"/v1/files/{answer['id']}/content", key=key).body == DATA


def make_error(message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": "invalid_request_error", "param": param, "code": code}


MALFORMED = make_error("The multipart/form-data of the request is malformed or does not end.")
REFUSED = {
    "not jsonl": (
        [make_part("file", DATA, "train.json"), PURPOSE_PART],
        make_error("Invalid file format for Fine-Tuning API. Must be .jsonl", "file", "invalid_file_format"),
    ),
    "not jsonl, for a batch": (
        [make_part("purpose", b"batch"), make_part("file", DATA, "requests.csv")],
        make_error("Invalid file format for Batch API. Must be .jsonl", "file", "invalid_file_format"),
    ),
    "empty": (
        [PURPOSE_PART, make_part("file", b"", "train.jsonl")],
        make_error("File is empty.", "file", "empty_file"),
    ),
    "unknown purpose": (
        [make_part("purpose", b"vision"), FILE_PART],
        make_error(
            "'vision' is not one of the purposes that can be uploaded here. Send 'fine-tune' or 'batch'.",
            "purpose",
            "invalid_value",
        ),
    ),
    "no purpose": (
        [FILE_PART],
        make_error("'purpose' is a required property", "purpose", "missing_required_parameter"),
    ),
    "no file": (
        [PURPOSE_PART],
        make_error("'file' is a required property", "file", "missing_required_parameter"),
    ),
    "a file without a name": (
        [PURPOSE_PART, make_part("file", DATA)],
        make_error("'file' is a required property", "file", "missing_required_parameter"),
    ),
    "an unknown field": (
        [PURPOSE_PART, FILE_PART, make_part("expires_after[anchor]", b"created_at")],
        make_error("Unrecognized request argument supplied: expires_after[anchor]", "expires_after[anchor]"),
    ),
    "a field twice": ([PURPOSE_PART, PURPOSE_PART], make_error("The field 'purpose' comes twice.", "purpose")),
    "a long field": (
        [make_part("purpose", b"x" * 1001)],
        make_error("The field 'purpose' is longer than 1000 bytes.", "purpose"),
    ),
    "a name that is not UTF-8": ([FILE_PART.replace(b"train", b"tr\xe9in"), PURPOSE_PART], MALFORMED),
    "a part without an end": ([FILE_PART[:-2]], MALFORMED),
    "an endless head of a part": ([b"x" * (1 << 17)], MALFORMED),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_upload_is_refused(name: str, state_service: RunningService, key: str) -> None:
    parts, error = REFUSED[name]
    answer = upload(state_service, key, *parts)
    assert (answer.status, answer.error) == (400, error)
    assert not list((state_service.service.state / "uploads").iterdir())
    assert state_service.ask("GET", "/v1/files", key=key).json["data"] == []


def test_an_upload_that_is_no_form_is_refused(state_service: RunningService, key: str) -> None:
    answer = state_service.ask("POST", "/v1/files", {"purpose": "fine-tune"}, key=key)
    message = "Send the file as multipart/form-data, with the fields 'purpose' and 'file'."
    assert (answer.status, answer.error) == (400, make_error(message))


def test_a_filename_is_data(state_service: RunningService, key: str, client: openai.OpenAI) -> None:
    names = ["../../../etc/passwd.jsonl", "/tmp/x.jsonl", "a\0b.jsonl", "x" * 5000 + ".jsonl", "\u202e.JSONL"]
    for name in names:
        assert upload(state_service, key, PURPOSE_PART, make_part("file", DATA, name)).status == 200
    given = {file.filename for file in client.files.list()}
    assert given == {name.replace("\0", "\ufffd") for name in names}
    stored = {path.name for path in (state_service.service.state / "files").iterdir()}
    assert {file.id for file in client.files.list()} <= stored


def test_a_file_above_the_limit_and_above_the_projects_room_is_refused(tmp_path: Path) -> None:
    with run_service(tmp_path / "state", max_file_bytes=200_000, max_project_bytes=300_000) as running:
        client = running.make_client()
        with pytest.raises(openai.APIStatusError) as refused:
            client.files.create(file=("a.jsonl", b"x" * 200_001), purpose="batch")
        assert (refused.value.status_code, refused.value.code, refused.value.param) == (413, "file_too_large", "file")
        with pytest.raises(openai.APIStatusError) as refused:  # refused by the length that it declares
            client.files.create(file=("a.jsonl", b"x" * 1_000_000), purpose="batch")
        assert refused.value.status_code == 413
        assert refused.value.response.headers["connection"] == "close"  # the client was still sending
        client.files.create(file=("a.jsonl", b"x" * 200_000), purpose="batch")
        for size in (100_001, 200_000):
            with pytest.raises(openai.RateLimitError) as refused:
                client.files.create(file=("a.jsonl", b"x" * size), purpose="batch")
            assert refused.value.response.headers["retry-after"] == "60"
        client.files.create(file=("a.jsonl", b"x" * 100_000), purpose="batch")
        running.make_client(running.make_key("other")).files.create(file=("a.jsonl", b"x" * 100_000), purpose="batch")
        assert len(list((running.service.state / "files").iterdir())) == 3


def test_an_upload_that_stops_is_removed(state_service: RunningService, key: str) -> None:
    connection = HTTPConnection("127.0.0.1", state_service.port, timeout=30)
    connection.putrequest("POST", "/v1/files")
    for name, value in {**HEADERS, "authorization": f"Bearer {key}", "content-length": "5000000"}.items():
        connection.putheader(name, value)
    connection.endheaders(FILE_PART + b"x" * 2_000_000)
    spool = state_service.service.state / "uploads"
    deadline_s = time.monotonic() + 10
    while not list(spool.iterdir()) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert list(spool.iterdir())
    connection.close()
    while list(spool.iterdir()) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert not list(spool.iterdir())


def test_pages_list_every_file_once(client: openai.OpenAI) -> None:
    for number in range(7):
        client.files.create(file=(f"{number}.jsonl", DATA), purpose="batch" if number < 2 else "fine-tune")
    whole = [file.id for file in client.files.list()]
    for limit in (1, 3, 7, 8):
        assert [file.id for file in client.files.list(limit=limit)] == whole
        assert [file.id for file in client.files.list(limit=limit, order="asc")] == whole[::-1]
    assert len(list(client.files.list(purpose="batch"))) == 2
    page = client.files.list(limit=7)
    assert (page.has_more, client.files.list(limit=6).has_more) == (False, True)
    assert (page.data[0].id, page.data[-1].id) == (whole[0], whole[-1])


def test_files_may_be_deleted_while_they_are_listed(client: openai.OpenAI) -> None:
    for number in range(5):
        client.files.create(file=(f"{number}.jsonl", DATA), purpose="batch")
    assert len([client.files.delete(file.id) for file in client.files.list(limit=2)]) == 5
    assert not list(client.files.list())


WRONG_PAGES = {
    "limit=0": ("Invalid value for 'limit': Input should be greater than or equal to 1.", "limit", "invalid_value"),
    "limit=x": ("Invalid type for 'limit': expected an integer, but got a string instead.", "limit", "invalid_type"),
    "order=up": ("Invalid value for 'order': Input should be 'asc' or 'desc'.", "order", "invalid_value"),
}


@pytest.mark.parametrize("query", WRONG_PAGES)
def test_a_wrong_page_is_refused(query: str, state_service: RunningService) -> None:
    answer = state_service.ask("GET", f"/v1/files?{query}")
    assert (answer.status, answer.error) == (400, make_error(*WRONG_PAGES[query]))


def test_a_page_behind_an_unknown_file_is_refused(state_service: RunningService) -> None:
    for file_id in ("file-unknown", "%00", "x" * 300):
        answer = state_service.ask("GET", f"/v1/files?after={file_id}")
        assert (answer.status, answer.error["param"]) == (404, "after")


def test_an_upload_that_is_sent_again_finds_the_first(state_service: RunningService, key: str) -> None:
    def send(retry: int, *parts: bytes) -> str:
        answer = upload(state_service, key, *(parts or (FILE_PART, PURPOSE_PART)), retry=retry)
        assert answer.status == 200
        return str(answer.json["id"])

    first, second = send(0), send(0)
    assert first != second
    found = send(1)
    assert found in (first, second) and send(2) == found
    assert {found, send(1)} == {first, second}  # the other one was sent again, too
    other = send(1, make_part("file", DATA + DATA, "train.jsonl"), PURPOSE_PART)
    assert other not in (first, second)  # its first try did not arrive
    state_service.ask("DELETE", f"/v1/files/{other}", key=key)
    assert send(2, make_part("file", DATA + DATA, "train.jsonl"), PURPOSE_PART) != other
    stored = state_service.ask("GET", "/v1/files", key=key).json["data"]
    assert len(stored) == 3


def test_many_uploads_at_once_are_all_kept(state_service: RunningService, key: str) -> None:
    statuses: list[int] = []

    def send() -> None:
        statuses.append(upload(state_service, key, FILE_PART, PURPOSE_PART).status)

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 12
    assert len(state_service.ask("GET", "/v1/files", key=key).json["data"]) == 12


def test_a_file_that_a_job_reads_is_not_deleted(state_service: RunningService, key: str) -> None:
    file_id = upload(state_service, key, FILE_PART, PURPOSE_PART).json["id"]
    job = add_job(state_service, get_project_id(state_service, file_id), file_id, status="queued")
    answer = state_service.ask("DELETE", f"/v1/files/{file_id}", key=key)
    message = f"The file {file_id} is in use by {job.id}. Wait until that has ended, or cancel it."
    assert (answer.status, answer.error) == (409, make_error(message))
    assert answer.headers["x-should-retry"] == "false"
    with state_service.service.database.session() as session:
        stored = session.get(Job, job.id)
        assert stored
        stored.status = "failed"
    assert state_service.ask("DELETE", f"/v1/files/{file_id}", key=key).json["deleted"]


def test_results_are_read_in_base64(state_service: RunningService, client: openai.OpenAI, tmp_path: Path) -> None:
    uploaded = client.files.create(file=("a.jsonl", DATA), purpose="fine-tune")
    project_id = get_project_id(state_service, uploaded.id)
    (tmp_path / "results.csv").write_bytes(b"step,train_loss\n1,0.5\n")
    service, file_id = state_service.service, make_id("file-")
    result = {"project_id": project_id, "source": tmp_path / "results.csv", "filename": "step_metrics.csv"}
    with pytest.raises(OSError, match="crash"), service.database.session() as session:
        add_result_file(service, session, **result, purpose=FINE_TUNE_RESULTS, file_id=file_id)
        raise OSError("crash")  # before the row is committed
    with service.database.session() as session:
        add_result_file(service, session, **result, purpose=FINE_TUNE_RESULTS, file_id=file_id)
    file = client.files.retrieve(file_id)
    assert (file.filename, file.purpose, file.bytes) == ("step_metrics.csv", "fine-tune-results", 22)
    assert base64.b64decode(client.files.content(file_id).read()) == b"step,train_loss\n1,0.5\n"
    assert get_path(service.state, file_id).read_bytes() == b"step,train_loss\n1,0.5\n"


def test_a_project_sees_no_file_of_another(state_service: RunningService, client: openai.OpenAI) -> None:
    file = client.files.create(file=("a.jsonl", DATA), purpose="fine-tune")
    other = state_service.make_key("another project")
    paths = {"GET": [file.id, f"{file.id}/content"], "DELETE": [file.id]}
    for method, names in paths.items():
        for name in names:
            answer = state_service.ask(method, f"/v1/files/{name}", key=other)
            message = f"No such File object: {file.id}"
            assert (answer.status, answer.error) == (404, make_error(message, "id"))
    assert state_service.ask("GET", f"/v1/files?after={file.id}", key=other).status == 404
    assert file.id not in [each["id"] for each in state_service.ask("GET", "/v1/files", key=other).json["data"]]
    assert client.files.retrieve(file.id) == file


def test_bytes_that_a_killed_service_left_behind_are_removed_when_they_are_old(tmp_path: Path) -> None:
    with run_service(tmp_path / "state") as running:
        kept = upload(running, running.key, FILE_PART, PURPOSE_PART).json["id"]
        files = running.service.state / "files"
    for name in (kept, "file-old", "file-new"):
        (files / name).write_bytes(DATA)
        if name != "file-new":
            os.utime(files / name, (0, 0))
    with run_service(tmp_path / "state"):
        assert {path.name for path in files.iterdir()} == {kept, "file-new"}

"""No text and no key is in a log, a bug is answered in the form of errors, and an upload takes no memory."""

import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
import pytest

from sentiment_ray.openai_api.authentication import create_key
from sentiment_ray.openai_api.database import open_database
from sentiment_ray.openai_api.state_directory import make_state_directory
from tests.openai_api.running import MODEL, RunningService

CANARY = "canary-5f2d"
BOUNDARY = "boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
MIB = 1 << 20
MAX_GROWTH_BYTES = 50 * MIB


def make_head(name: str, rest: str = "") -> str:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{rest}\r\n\r\n'


def ask_everything(service: RunningService, key: str) -> list[int]:
    """Send a text in every place that a request has; return the status of each answer."""
    example = {"messages": [{"role": "user", "content": CANARY}, {"role": "assistant", "content": CANARY}]}
    filename = f'; filename="{CANARY}.jsonl"'
    file = f"{make_head('file', filename)}{json.dumps(example)}"
    form = f"{make_head('purpose')}fine-tune\r\n{file}\r\n--{BOUNDARY}--\r\n"
    cut_form = form.replace(f"--{BOUNDARY}--", CANARY)
    uploaded = service.ask("POST", "/v1/files", form.encode(), {"content-type": FORM}, key=key)
    job = {"model": MODEL, "training_file": uploaded.json["id"], "suffix": CANARY, "metadata": {CANARY: CANARY}}
    chat = {"model": CANARY, "messages": example["messages"][:1], "user": CANARY}
    answers = [
        uploaded,
        service.ask("POST", "/v1/files", cut_form.encode(), {"content-type": FORM}, key=key),
        service.ask("POST", "/v1/fine_tuning/jobs", job, key=key),
        service.ask("POST", "/v1/fine_tuning/jobs", {**job, CANARY: CANARY}, key=key),
        service.ask("POST", "/v1/chat/completions", chat, key=key),
        service.ask("POST", "/v1/chat/completions", CANARY.encode(), key=key),
        service.ask("POST", "/v1/responses", {"model": CANARY, "input": CANARY}, key=key),
        service.ask("GET", f"/v1/files/{CANARY}?after={CANARY}", key=key),
        service.ask("GET", f"/v1/{CANARY}", headers={"user-agent": CANARY, "x-request-id": "r-1"}, key=key),
        service.ask("GET", "/v1/models", key=f"sk-{CANARY}"),
    ]
    return [answer.status for answer in answers]


def test_no_text_and_no_key_is_in_a_log(
    state_service: RunningService,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    assert ask_everything(state_service, key) == [200, 400, 200, 400, 404, 400, 404, 404, 404, 401]

    def fail(*_: Any) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr("sentiment_ray.openai_api.routes.files.find_file", fail)
    answer = state_service.ask("GET", f"/v1/files/{CANARY}", key=key)
    message = "The server had an error while processing your request. Its log says where."
    assert answer.status == 500
    assert answer.error == {"message": message, "type": "server_error", "param": None, "code": None}
    deadline_s = time.monotonic() + 10
    while "RuntimeError" not in caplog.text and time.monotonic() < deadline_s:  # it is logged after the answer
        time.sleep(0.01)
    written = "".join(capfd.readouterr()) + caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert "RuntimeError" in written and "/v1/files/{file_id}" in written
    for secret in (CANARY, key, key.removeprefix("sk-")):
        assert secret not in written
    for path in state_service.service.state.glob("state.sqlite*"):
        assert key.encode() not in path.read_bytes()


@contextmanager
def run_command(state: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Yield the port and the process of a service that the command starts."""
    command = [str(Path(sys.executable).parent / "sentiment-ray"), "openai-api", "serve", "--port", "0"]
    with subprocess.Popen([*command, "--state", str(state)], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            line = next(line for line in process.stderr if "serving" in line)
            found = re.fullmatch(r"serving the OpenAI API on http://127\.0\.0\.1:(\d+)/v1\n", line)
            assert found, line
            yield int(found[1]), psutil.Process(process.pid)
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert process.returncode == 0


def upload_mebibytes(port: int, key: str, count: int) -> dict[str, Any]:
    head = f"{make_head('purpose')}batch\r\n{make_head('file', '; filename=a.jsonl')}"
    end = f"\r\n--{BOUNDARY}--\r\n"
    line = b'{"custom_id": "1"}\n'
    mebibyte = (line * (MIB // len(line) + 1))[:MIB]

    def make_pieces() -> Iterator[bytes]:
        yield head.encode()
        for _ in range(count):
            yield mebibyte
        yield end.encode()

    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"authorization": f"Bearer {key}", "content-type": FORM}
    connection.request("POST", "/v1/files", make_pieces(), headers, encode_chunked=True)
    response = connection.getresponse()
    answer: dict[str, Any] = json.loads(response.read())
    connection.close()
    assert response.status == 200, answer
    return answer


@pytest.mark.parametrize("mebibytes", [96, pytest.param(512, marks=pytest.mark.slow)])
def test_an_upload_takes_no_memory(mebibytes: int, new_state: Path) -> None:
    database = open_database(make_state_directory(str(new_state)), None)
    key = create_key(database, "shop")
    database.close()
    with run_command(new_state) as (port, process):
        upload_mebibytes(port, key, 1)
        before = read_peak_bytes(process)
        answer = upload_mebibytes(port, key, mebibytes)
        assert answer["bytes"] == mebibytes * MIB
        assert read_peak_bytes(process) - before < MAX_GROWTH_BYTES


def read_peak_bytes(process: psutil.Process) -> int:
    """Return the most memory that a process has had at once."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024

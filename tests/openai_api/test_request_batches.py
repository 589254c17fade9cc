"""A batch from its file to its answers, which are those of chat; read with the strict client."""

import json
import time
from typing import Any

import openai
import pytest
from openai.types import Batch

from tests.openai_api.fine_tuning import FineTuned
from tests.openai_api.running import RunningService

CHAT = "/v1/chat/completions"
WAIT_S = 120
TEXTS = ("This is a cherry pie.", "I love it.", "What a waste of money.", "The cows are in the lower field.")


def make_requests(model: str, bodies: list[dict[str, Any]], url: str = CHAT) -> bytes:
    lines = [
        {"custom_id": f"request {number}", "method": "POST", "url": url, "body": {"model": model, **body}}
        for number, body in enumerate(bodies)
    ]
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


def ask(text: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


def create_batch(client: openai.OpenAI, content: bytes, endpoint: str = CHAT) -> Batch:
    file = client.files.create(file=("requests.jsonl", content), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")  # type: ignore[arg-type]


def wait_for_batch(client: openai.OpenAI, batch_id: str, wanted: str) -> Batch:
    end = time.monotonic() + WAIT_S
    while (batch := client.batches.retrieve(batch_id)).status != wanted:
        assert batch.status not in ("failed", "completed", "cancelled"), batch.errors
        assert time.monotonic() < end, batch.status
        time.sleep(0.2)
    return batch


def read_lines(client: openai.OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id
    return [json.loads(line) for line in client.files.content(file_id).read().splitlines()]


def test_a_batch_is_answered_as_chat_answers_in_the_order_of_its_file(fine_tuned: FineTuned) -> None:
    client, model = fine_tuned.client, fine_tuned.model
    plain = [ask(TEXTS[number % len(TEXTS)] + "!" * number) for number in range(40)]
    bodies = [*plain, ask(TEXTS[0], n=2, logprobs=True, top_logprobs=2), ask("", tools=[{}]), {"messages": []}]
    batch = create_batch(client, make_requests(model, bodies))
    assert (batch.status, batch.output_file_id) == ("validating", None)
    batch = wait_for_batch(client, batch.id, "completed")
    assert batch.request_counts
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (43, 41, 2)
    assert batch.in_progress_at and batch.finalizing_at and batch.completed_at
    lines = read_lines(client, batch.output_file_id)
    assert [line["custom_id"] for line in lines] == [f"request {number}" for number in range(41)]
    for line, body in zip(lines, bodies, strict=False):
        answer = client.chat.completions.create(model=model, **body).model_dump()
        assert line["response"]["status_code"] == 200
        given = line["response"]["body"]
        for volatile in ("id", "created"):
            assert given.pop(volatile) and answer.pop(volatile)
        labels = [choice["message"]["content"] for choice in given["choices"]]
        assert labels == [choice["message"]["content"] for choice in answer["choices"]]
        assert given["usage"]["prompt_tokens"] == answer["usage"]["prompt_tokens"]
    errors = read_lines(client, batch.error_file_id)
    assert [line["custom_id"] for line in errors] == ["request 41", "request 42"]
    assert [line["response"]["status_code"] for line in errors] == [400, 400]
    assert "'tools' is not supported here." in errors[0]["response"]["body"]["error"]["message"]
    assert client.batches.list(limit=1).data[0].id == batch.id


def test_a_batch_without_a_good_request_has_only_errors(fine_tuned: FineTuned) -> None:
    batch = create_batch(fine_tuned.client, make_requests(fine_tuned.model, [{"messages": []}]))
    batch = wait_for_batch(fine_tuned.client, batch.id, "completed")
    assert batch.output_file_id is None
    assert len(read_lines(fine_tuned.client, batch.error_file_id)) == 1


def test_a_wrong_file_fails_the_batch_with_its_lines(client: openai.OpenAI) -> None:
    lines = make_requests("gpt-none", [ask("a"), ask("b")]).replace(b"request 1", b"request 0")
    batch = wait_for_batch(client, create_batch(client, lines).id, "failed")
    assert batch.errors and batch.errors.data
    assert [(error.code, error.line) for error in batch.errors.data] == [("duplicate_custom_id", 2)]


def test_an_unknown_model_fails_the_batch(client: openai.OpenAI) -> None:
    batch = wait_for_batch(client, create_batch(client, make_requests("gpt-none", [ask("a")])).id, "failed")
    assert batch.errors and batch.errors.data
    assert batch.errors.data[0].code == "model_not_found"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"input_file_id": "file-none"}, "id"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 3600}}, "output_expires_after"),
    ],
)
def test_a_request_for_a_batch_that_cannot_be_done_is_refused(
    state_service: RunningService, client: openai.OpenAI, key: str, changes: dict[str, Any], param: str
) -> None:
    file = client.files.create(file=("requests.jsonl", make_requests("m", [ask("a")])), purpose="batch")
    body = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"} | changes
    answer = state_service.ask("POST", "/v1/batches", body, key=key)
    assert (answer.status, answer.error["param"]) == (404 if param == "id" else 400, param)


def test_a_batch_is_cancelled(fine_tuned: FineTuned) -> None:
    batch = create_batch(fine_tuned.client, make_requests(fine_tuned.model, [ask("a")]))
    assert fine_tuned.client.batches.cancel(batch.id).status == "cancelling"
    batch = wait_for_batch(fine_tuned.client, batch.id, "cancelled")
    assert batch.cancelled_at and batch.cancelling_at
    with pytest.raises(openai.ConflictError):
        fine_tuned.client.batches.cancel(batch.id)

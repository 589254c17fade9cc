"""Every contract counts, limits, scores and fails alike: one text, lists, Vertex, and tensors as JSON and as bytes."""

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from fastapi.testclient import TestClient

from sentiment_ray import Predictor
from sentiment_ray.errors import QueueFullError
from sentiment_ray.inference.async_predictor import Answer, AsyncPredictor
from sentiment_ray.serve.scoring import is_blank
from tests.serve.connect import connect

MAX_TEXTS = 20
LABELS = ("negative", "neutral", "positive")
JSON = {"content-type": "application/json"}
INFER = "/v2/models/sentiment/infer"
SECRET = "nobody may read this in a log"

Ask = Callable[[TestClient, Sequence[str], bool], httpx.Response]
Read = Callable[[httpx.Response], list[tuple[str, list[float]]]]


def _post(client: TestClient, path: str, body: Any) -> httpx.Response:
    return client.post(path, content=json.dumps(body), headers=JSON)


def _read_ranking(ranking: list[dict[str, Any]]) -> tuple[str, list[float]]:
    by_label = {row["label"]: row["score"] for row in ranking}
    return ranking[0]["label"], [by_label[label] for label in LABELS]


def _read_rankings(response: httpx.Response) -> list[tuple[str, list[float]]]:
    return [_read_ranking(ranking) for ranking in response.json()]


def _read_vertex(response: httpx.Response) -> list[tuple[str, list[float]]]:
    return [_read_ranking(prediction) for prediction in response.json()["predictions"]]


def _read_outputs(response: httpx.Response) -> list[tuple[str, list[float]]]:
    by_name = {output["name"]: output["data"] for output in response.json()["outputs"]}
    rows = np.reshape(by_name["probabilities"], (-1, len(LABELS))).tolist()
    return list(zip(by_name["label"], rows, strict=True))


def _read_bytes(response: httpx.Response) -> list[tuple[str, list[float]]]:
    length = int(response.headers["inference-header-content-length"])
    outputs = json.loads(response.content[:length])["outputs"]
    data = response.content[length:]
    split = outputs[0]["parameters"]["binary_data_size"]
    labels, start = [], 0
    while start < split:
        end = start + 4 + int.from_bytes(data[start : start + 4], "little")
        labels.append(data[start + 4 : end].decode())
        start = end
    rows = np.frombuffer(data[split:], "<f4").reshape(outputs[1]["shape"]).tolist()
    return list(zip(labels, rows, strict=True))


def _make_tensor(texts: Sequence[str], shape: list[int]) -> dict[str, Any]:
    data: list[Any] = [[text] for text in texts] if len(shape) == 2 else list(texts)
    return {"name": "text", "datatype": "BYTES", "shape": shape, "data": data}


def _ask_bytes(client: TestClient, texts: Sequence[str], truncate: bool) -> httpx.Response:
    encoded = [text.encode() for text in texts]
    data = b"".join(len(text).to_bytes(4, "little") + text for text in encoded)
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True, "truncate": truncate}}).encode()
    headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    return client.post(INFER, content=head + data, headers=headers)


DOORS: dict[str, tuple[Ask, Read]] = {
    "a list": (lambda c, t, cut: _post(c, "/predict", {"inputs": [*t], "truncate": cut}), _read_rankings),
    "lists of one": (
        lambda c, t, cut: _post(c, "/invocations", {"inputs": [[text] for text in t], "truncate": cut}),
        _read_rankings,
    ),
    "Hugging Face": (
        lambda c, t, cut: _post(c, "/", {"inputs": [*t], "parameters": {}, "truncate": cut}),
        _read_rankings,
    ),
    "Vertex": (
        lambda c, t, cut: _post(c, "/vertex", {"instances": [{"inputs": text, "truncate": cut} for text in t]}),
        _read_vertex,
    ),
    "a tensor": (
        lambda c, t, cut: _post(c, INFER, {"inputs": [_make_tensor(t, [len(t)])], "parameters": {"truncate": cut}}),
        _read_outputs,
    ),
    "a tensor of two dimensions": (
        lambda c, t, cut: _post(
            c,
            "/v2/models/sentiment/versions/1/infer",
            {"inputs": [_make_tensor(t, [len(t), 1])], "parameters": {"truncate": cut}},
        ),
        _read_outputs,
    ),
    "bytes": (_ask_bytes, _read_bytes),
}

TEXTS = [
    "What a good day!",
    "nul \0 inside",
    "\0",
    "\ufeff",
    "\ufeffgood",
    "cafe\u0301",
    "café",
    "one\u2028two\u2029three",
    "\u200b\u200d",
    "\u202eright to left",
    "👍🏽 ❤️",
    'a:b "c" \\ {} [] , : \u003a',
    "word " * 100,
]


@pytest.fixture(scope="module")
def client(golden: Predictor) -> Iterator[TestClient]:
    with connect(golden, max_texts=MAX_TEXTS) as client:
        yield client


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> tuple[Ask, Read]:
    return DOORS[request.param]


def test_every_text_has_the_same_label_and_scores(
    client: TestClient, golden: Predictor, door: tuple[Ask, Read]
) -> None:
    ask, read = door
    scores = golden.score(TEXTS)
    expected = [
        (golden.labels[label_id], row)
        for label_id, row in zip(scores.label_ids, scores.probabilities.tolist(), strict=True)
    ]
    assert read(ask(client, TEXTS, True)) == expected
    assert [read(ask(client, [text], True))[0] for text in TEXTS] == expected


@pytest.mark.parametrize("name", [name for name in DOORS if name != "bytes"])
def test_half_a_surrogate_pair_is_scored(client: TestClient, golden: Predictor, name: str) -> None:
    ask, read = DOORS[name]
    text = "good \ud83d day"
    assert read(ask(client, [text], True))[0][1] == golden.score([text]).probabilities[0].tolist()


def test_one_text_is_answered_with_a_flat_list(client: TestClient) -> None:
    for text in TEXTS:
        alone = _post(client, "/predict", {"inputs": text}).json()
        assert [alone] == _post(client, "/", {"inputs": [text]}).json()
        assert [alone] == _post(client, "/", {"inputs": text, "parameters": {"top_k": None}}).json()


def test_raw_scores_are_logits(client: TestClient, golden: Predictor) -> None:
    expected = golden.score(TEXTS).logits.tolist()
    body = {"inputs": TEXTS, "raw_scores": True}
    assert [row for _, row in _read_rankings(_post(client, "/predict", body))] == expected
    assert [row for _, row in _read_rankings(_post(client, "/", body | {"parameters": {}}))] == expected
    instances = [{"inputs": text, "raw_scores": True} for text in TEXTS]
    assert [row for _, row in _read_vertex(_post(client, "/vertex", {"instances": instances}))] == expected


def test_instances_are_answered_in_their_order_whatever_they_ask_for(client: TestClient, golden: Predictor) -> None:
    instances: list[dict[str, Any]] = [
        {"inputs": "tea", "truncate": True},
        {"inputs": ["good", ["bad"]], "truncate": False, "raw_scores": True},
        {"inputs": [["milk"]], "truncate": None},
    ]
    tea, pair, milk = _post(client, "/vertex", {"instances": instances}).json()["predictions"]
    assert [_read_ranking(tea)[1], _read_ranking(milk[0])[1]] == golden.score(["tea", "milk"]).probabilities.tolist()
    assert [_read_ranking(ranking)[1] for ranking in pair] == golden.score(["good", "bad"]).logits.tolist()
    instances[1]["inputs"] = ["good", "word " * 100]
    refused = _post(client, "/vertex", {"instances": instances})
    assert refused.json()["error"].startswith("instances[1].inputs[1] has more than 32 tokens")


def _read_error(response: httpx.Response) -> tuple[str, str | None]:
    """Return the message and the type, which the Open Inference Protocol does not have."""
    content = response.json()
    is_open_inference = response.request.url.path.startswith("/v2")
    assert content.keys() == ({"error"} if is_open_inference else {"error", "error_type"})
    return content["error"], content.get("error_type")


def test_as_many_texts_as_allowed_are_scored_and_one_more_is_refused(
    client: TestClient, door: tuple[Ask, Read]
) -> None:
    ask, read = door
    assert len(read(ask(client, ["tea"] * MAX_TEXTS, True))) == MAX_TEXTS
    refused = ask(client, ["tea"] * (MAX_TEXTS + 1), True)
    assert refused.status_code == 422
    message, kind = _read_error(refused)
    assert message == f"The request holds {MAX_TEXTS + 1} texts; at most {MAX_TEXTS} may be sent at once."
    assert kind in ("Validation", None)


@pytest.mark.parametrize("blank", ["", " ", "\u3000\u2028\x1c"])
def test_a_blank_text_is_refused_by_its_index(client: TestClient, door: tuple[Ask, Read], blank: str) -> None:
    refused = door[0](client, ["tea", blank, "milk"], True)
    assert refused.status_code == 400
    message, kind = _read_error(refused)
    assert message.startswith("No text in ") and "[1]" in message
    assert kind in ("Empty", None)


def test_the_service_and_the_jobs_call_the_same_characters_blank() -> None:
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    lengths = pc.utf8_length(pc.utf8_trim_whitespace(pa.array(characters)))
    assert [is_blank(character) for character in characters] == pc.equal(lengths, 0).to_pylist()


def test_no_text_is_refused(client: TestClient, door: tuple[Ask, Read]) -> None:
    refused = door[0](client, [], True)
    assert refused.status_code == 400
    assert _read_error(refused)[1] in ("Empty", None)


def test_a_text_that_would_be_cut_is_refused_if_the_client_says_so(client: TestClient, door: tuple[Ask, Read]) -> None:
    refused = door[0](client, ["tea", "word " * 100], False)
    assert refused.status_code == 422
    message, kind = _read_error(refused)
    assert "[1]" in message and "has more than 32 tokens, and truncate is false" in message
    assert kind in ("Tokenizer", None)
    assert door[0](client, ["tea", "milk"], False).status_code == 200


class FailingPredictor(AsyncPredictor):
    """A predictor whose every call fails with one error."""

    error: Exception

    async def score(self, texts: Sequence[str], *, truncate: bool = True) -> Answer:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (QueueFullError("8,000 tokens wait."), 429, "Overloaded"),
        (TimeoutError(), 504, "Timeout"),
        (RuntimeError(SECRET), 424, "Backend"),
    ],
)
def test_a_failure_has_one_status(
    golden: Predictor,
    door: tuple[Ask, Read],
    error: Exception,
    status: int,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing = FailingPredictor(golden)
    failing.error = error
    with caplog.at_level(logging.ERROR), connect(golden, answering=failing) as client:
        refused = door[0](client, ["tea"], True)
    assert refused.status_code == status
    assert _read_error(refused)[1] in (kind, None)
    assert ("retry-after" in refused.headers) == (status == 429)
    assert ("RuntimeError" in caplog.text) == isinstance(error, RuntimeError)
    assert SECRET not in caplog.text + refused.text


class _Broken(AsyncPredictor):
    """A predictor whose scores are no numbers."""

    async def score(self, texts: Sequence[str], *, truncate: bool = True) -> Answer:
        answer = await super().score(texts, truncate=truncate)
        answer.scores.logits[-1, 0] = np.nan
        return answer


def test_a_score_that_is_no_number_is_a_failure(golden: Predictor, door: tuple[Ask, Read]) -> None:
    with connect(golden, answering=_Broken(golden)) as client:
        refused = door[0](client, ["tea", "milk"], True)
    assert refused.status_code == 424
    assert _read_error(refused) in [("The model gave a score that is no number.", kind) for kind in ("Backend", None)]


class _Slow(AsyncPredictor):
    """A predictor that never answers, and notes what became of its calls."""

    was_cancelled = False

    async def score(self, texts: Sequence[str], *, truncate: bool = True) -> Answer:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        raise AssertionError


def test_scoring_is_cancelled_when_the_client_has_gone(golden: Predictor) -> None:
    slow = _Slow(golden)
    with connect(golden, answering=slow) as client:
        assert client.portal
        assert client.portal.call(_ask_and_leave, client.app) == []
    assert slow.was_cancelled


async def _ask_and_leave(app: Any) -> list[Any]:
    """Send a request as a server would, then disconnect; return what the application sends."""
    messages = [{"type": "http.request", "body": b'{"inputs": "tea"}'}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "client": ("127.0.0.1", 1)}
    await app(scope, receive, send)
    return sent

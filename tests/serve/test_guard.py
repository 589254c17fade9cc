"""The service answers no request without the key, whatever its Host header, and reads no body beyond its limit."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from sentiment_ray import Predictor
from sentiment_ray.inference.async_predictor import AsyncPredictor
from sentiment_ray.serve.http import AsgiApp
from tests.serve.asgi import call_app
from tests.serve.connect import connect

BUNDLE = Path(__file__).parents[1] / "golden/bundle"


@pytest.fixture(scope="module")
def locked() -> Iterator[TestClient]:
    """A client of a service that wants the API key `sésame`."""
    predictor = Predictor.load(BUNDLE, engine="onnxruntime", threads=1)
    with connect(predictor, api_key="sésame", max_body_bytes=100_000) as client:
        yield client


KEY = {"authorization": "Bearer sésame".encode()}
NO_KEYS = [{}, {"authorization": b"Bearer wrong"}, {"authorization": b"Bearer"}, {"authorization": b"Basic c2VzYW1l"}]


@pytest.mark.parametrize("headers", NO_KEYS)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/predict"),
        ("GET", "/info"),
        ("POST", "/rerank"),
        ("GET", "/nowhere"),
        ("GET", "/health/"),
        ("GET", "http://testserver//health"),
    ],
)
def test_without_the_key_only_health_answers(
    locked: TestClient, method: str, path: str, headers: dict[str, str]
) -> None:
    refused = locked.request(method, path, headers=headers)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert refused.json()["error_type"] == "Unauthorized"
    assert locked.get("/health", headers=headers).status_code == 200


def test_with_the_key_the_service_answers(locked: TestClient) -> None:
    assert locked.post("/predict", json={"inputs": "tea"}, headers=KEY).status_code == 200
    assert locked.get("/info", headers=KEY).status_code == 200
    assert locked.get("/nowhere", headers=KEY).status_code == 404


HOSTILE_HOSTS = [
    b"x/health?",
    b"x/health#",
    b"x/health/?",
    b"x:80/health?a=",
    b"/health?",
    b"//x/health?",
    b"x@y/health?",
    b"x\\health?",
    b"",
]


@pytest.mark.parametrize("host", HOSTILE_HOSTS)
def test_a_host_header_does_not_pass_for_a_path(locked: TestClient, host: bytes) -> None:
    status, body = _ask(locked, "/predict", host)
    assert status == 401
    assert b"score" not in body
    assert _ask(locked, "/info", host)[0] == 401
    assert _ask(locked, "/health", host)[0] == 401


@pytest.mark.parametrize("path", ["/predict/", "/health/", "/info/"])
def test_no_path_is_redirected_to_the_host_that_a_client_names(locked: TestClient, path: str) -> None:
    answer = locked.post(path, headers=KEY | {"host": "stranger.example"}, follow_redirects=False)
    assert answer.status_code == 404


def _ask(client: TestClient, path: str, host: bytes) -> tuple[int, bytes]:
    assert client.portal
    return client.portal.call(_send, client.app, path, host)


async def _send(app: AsgiApp, path: str, host: bytes) -> tuple[int, bytes]:
    """Send a text to `path` with this Host header, which no client's library would send."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b'{"inputs": "tea"}', "more_body": False}

    sent = await call_app(app, path, receive, {"host": host, "content-type": b"application/json"})
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def test_a_large_body_is_refused_declared_or_streamed(locked: TestClient) -> None:
    large = b'{"inputs": "' + b"x" * 100_000 + b'"}'
    headers = KEY | {"content-type": "application/json"}
    for content in (large, iter([large[:50_000], large[50_000:]])):
        refused = locked.post("/predict", content=content, headers=headers)
        assert refused.status_code == 413
        assert refused.json() == {"error": "The body is larger than 100000 bytes.", "error_type": "Validation"}


def test_a_body_in_pieces_is_read_whole(locked: TestClient) -> None:
    headers = KEY | {"content-type": "application/json"}
    answer = locked.post("/predict", content=iter([b'{"inp', b"", b'uts": "tea"}']), headers=headers)
    assert len(answer.json()) == 3


def test_an_answer_that_takes_too_long_is_504(monkeypatch: pytest.MonkeyPatch) -> None:
    async def score(self: AsyncPredictor, texts: object, **keys: object) -> None:
        await asyncio.sleep(5)

    monkeypatch.setattr(AsyncPredictor, "score", score)
    predictor = Predictor.load(BUNDLE, engine="onnxruntime", threads=1)
    with connect(predictor, deadline_s=0.1) as client:
        for path in ("/predict", "/v2/models/sentiment/infer"):
            tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["tea"]}
            body = {"inputs": "tea" if path == "/predict" else [tensor]}
            late = client.post(path, json=body)
            assert late.status_code == 504
            assert "The answer took longer than 0.1 s." in late.json()["error"]


def test_readiness_ends_when_the_engine_does_not_move_although_work_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor.load(BUNDLE, engine="onnxruntime", threads=1)
    read_statistics = AsyncPredictor.read_statistics
    with connect(predictor, stall_limit_s=3) as client:
        for stalled_s, status in ((2.0, 200), (4.0, 503), (0.0, 200)):
            monkeypatch.setattr(
                AsyncPredictor, "read_statistics", lambda self, s=stalled_s: replace(read_statistics(self), stalled_s=s)
            )
            assert client.get("/health").status_code == status
            assert client.get("/v2/health/ready").status_code == status
            assert client.get("/v2/health/live").status_code == 200

"""What the service shows of itself: metrics, the access log and request ids; and that no text and no key is in them."""

import gzip
import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.serve.running import GOLDEN, Running, run

CANARY, KEY, OTHER_KEY = "canarytextk7", "canarykeyk8", "canarykeyk9"
ACCESS_FIELDS = {"time", "level", "message", "module", "process"} | {
    "request_id",
    "method",
    "route",
    "status",
    "duration_ms",
    "client",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with every output that it has: two keys, an access log, a verbose log and a second bundle."""
    directory = tmp_path_factory.mktemp("keys")
    (directory / "a").write_text(f"{OTHER_KEY}\nnotes about the key\n")
    (directory / "b").write_text(f"{KEY}\n")
    flags = ("--api-key-file", f"{directory / 'a'},{directory / 'b'}", "--access-log", "--max-body-bytes", "50000")
    limits = ("--read-limit-s", "0.5", "--max-texts", "50", "--shadow", str(GOLDEN), "--shadow-share", "1")
    with run(GOLDEN, *flags, *limits, headers={"authorization": f"Bearer {KEY}"}) as running:
        yield running


def lines_of(service: Running) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.log if line.startswith("{")]


@pytest.mark.parametrize("key", [KEY, OTHER_KEY])
def test_each_key_opens_the_service(service: Running, key: str) -> None:
    for scheme in ("Bearer", "bearer"):
        assert service.ask("GET", "/info", headers={"authorization": f"{scheme} {key}"}).status == 200


@pytest.mark.parametrize("given", ["notes about the key", KEY[:-1], f"{KEY} ", "", f"{KEY}\n{OTHER_KEY}"[:11]])
def test_no_other_line_and_no_part_of_a_key_opens_it(service: Running, given: str) -> None:
    expected = 200 if given in (KEY, OTHER_KEY) else 401
    assert service.ask("GET", "/info", headers={"authorization": f"Bearer {given}"}).status == expected


def test_a_scheme_that_is_not_bearer_does_not_open_it(service: Running) -> None:
    assert service.ask("GET", "/info", headers={"authorization": f"Basic {KEY}"}).status == 401


def test_metrics_count_requests_texts_batches_and_drift(service: Running) -> None:
    before = service.read_metrics()
    texts = ["a good shop", "a bad hotel", "tea " * 100]
    labels = [answer[0]["label"] for answer in service.ask("POST", "/predict", {"inputs": texts}).json]
    service.ask("POST", "/predict", {"inputs": ""})
    service.ask("GET", f"/{CANARY}")
    now = service.read_metrics()

    def added(name: str) -> float:
        return now.get(f"sentiment_ray_{name}", 0) - before.get(f"sentiment_ray_{name}", 0)

    assert added("requests_total{route=/predict,status=200}") == 1
    assert added("requests_total{route=/predict,status=400}") == 1
    assert added("requests_total{route=other,status=404}") == 1
    assert added("request_seconds_count{route=/predict}") == 2
    assert sum(added(f"texts_total{{label={label}}}") for label in set(labels)) == 3
    assert added("truncated_texts_total") == 1
    assert added("stage_seconds_count{stage=queue}") == added("stage_seconds_count{stage=inference}") == 1
    assert 0 < added("tokens_total") <= added("padded_tokens_total")
    assert sum(value for name, value in now.items() if name.startswith("sentiment_ray_batches_total")) > 0
    assert now["sentiment_ray_queued_tokens"] == 0
    info = service.ask("GET", "/info").json
    bundle = f"bundle_id={info['bundle_id']},engine={info['engine']},variant={info['variant']}"
    assert now[f"sentiment_ray_bundle{{{bundle}}}"] == 1
    assert now["sentiment_ray_drift{measure=tokens}"] > 0
    assert now["sentiment_ray_drift_by_chance{measure=labels}"] > 0


def test_metrics_need_the_key(service: Running) -> None:
    assert service.ask("GET", "/metrics", headers={"authorization": "Bearer no"}).status == 401


def test_a_request_keeps_its_sane_id_and_gets_one_otherwise(service: Running) -> None:
    assert service.ask("GET", "/health", headers={"x-request-id": "abc-1.2"}).headers["x-request-id"] == "abc-1.2"
    for wrong in ("", "two words", "é", "x" * 200, 'a"b'):
        answer = service.ask("GET", "/health", headers={"x-request-id": wrong.encode().decode("latin-1")})
        assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])
    refused = service.ask("GET", "/info", headers={"authorization": "no", "x-request-id": "refused-1"})
    assert (refused.status, refused.headers["x-request-id"]) == (401, "refused-1")


def test_a_body_that_comes_too_slowly_is_answered_with_408(service: Running) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head.encode() + b'{"inputs')
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in received
    assert json.loads(received.split(b"\r\n\r\n")[1])["error_type"] == "Timeout"


def test_a_client_that_still_uploads_sees_the_413(service: Running) -> None:
    """A client that sends its whole body before it reads, as most do, gets the answer and no reset connection."""
    body = json.dumps({"inputs": CANARY * 1_000_000}).encode()
    for content in (body, iter([body[:1_000_000], body[1_000_000:]])):
        refused = service.ask("POST", "/predict", content)
        assert refused.status == 413
        assert refused.headers["connection"] == "close"


def test_no_site_may_read_answers_from_a_browser(service: Running) -> None:
    origin = {"origin": "https://stranger.example", "access-control-request-method": "POST"}
    for method in ("OPTIONS", "POST", "GET"):
        answer = service.ask(method, "/predict", {"inputs": "tea"}, origin)
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert service.ask("OPTIONS", "/predict", headers=origin).status == 405


def test_no_text_and_no_key_is_in_any_output(service: Running) -> None:
    answers = [
        service.ask("POST", "/predict", {"inputs": f"{CANARY} {CANARY}"}),
        service.ask("POST", "/predict", {"inputs": [f"{CANARY} {index}" for index in range(60)]}),
        service.ask("POST", "/predict", {"inputs": [[CANARY, CANARY]]}),
        service.ask("POST", "/predict", {"inputs": f"{CANARY} " * 500, "truncate": False}),
        service.ask("POST", "/predict", {"inputs": CANARY * 10_000}),
        service.ask("POST", "/predict", {"inputs": [CANARY, 5]}),
        service.ask("POST", "/predict", f'{{"inputs": "{CANARY}'),
        service.ask("POST", "/predict", {"inputs": CANARY}, {"content-type": "text/plain"}),
        service.ask("POST", "/predict", {"inputs": CANARY}, {"authorization": f"Bearer {KEY}{CANARY}"}),
        service.ask("GET", f"/info?text={CANARY}"),
        service.ask("POST", "/v2/models/sentiment/infer", {"inputs": [{"name": "text", "data": [CANARY, 1]}]}),
    ]
    assert {answer.status for answer in answers} >= {200, 400, 401, 413, 415, 422}
    shown = [answer.body.decode() + str(dict(answer.headers)) for answer in answers]
    metrics = service.ask("GET", "/metrics", headers={"x-request-id": "after-all-others"})
    service.wait_for_line("after-all-others")
    shown += [metrics.body.decode(), *service.log]
    assert len(service.log) > len(answers), "the access log is one of the outputs"
    for secret in (CANARY, KEY, OTHER_KEY):
        assert [text for text in shown if secret in text] == []


def test_each_request_is_one_line_of_the_access_log(service: Running) -> None:
    service.ask("POST", "/predict", {"inputs": "tea"}, {"x-request-id": "line-1"})
    service.ask("POST", f"/{CANARY}", headers={"x-request-id": "line-2"})
    service.ask("GET", "/health", headers={"x-request-id": "line-3"})
    service.wait_for_line("line-3")
    by_id = {line["request_id"]: line for line in lines_of(service) if "request_id" in line}
    line = by_id["line-1"]
    assert line.keys() == ACCESS_FIELDS
    assert (line["method"], line["route"], line["status"]) == ("POST", "/predict", 200)
    assert 0 < line["duration_ms"] < 10_000
    assert (by_id["line-2"]["route"], by_id["line-2"]["status"]) == ("other", 404)


def test_the_text_of_a_bug_is_not_shown(tmp_path: Path) -> None:
    """An error inside the model is logged with its place and without its message, which may hold a text."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sentiment_ray.inference.async_predictor as module\n"
        "async def score(self, texts, **keys):\n    raise ValueError(texts[0])\n"
        "module.AsyncPredictor.score = score\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        with run(GOLDEN) as broken:
            answer = broken.ask("POST", "/predict", {"inputs": CANARY})
            assert answer.status == 424
            assert broken.ask("GET", "/health").status == 200
            broken.wait_for_line("ValueError")
    assert CANARY not in answer.body.decode() + "".join(broken.log)


def test_each_request_is_a_span_that_continues_the_trace_of_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            received.append(gzip.decompress(content) if self.headers["content-encoding"] == "gzip" else content)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    collector = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with run(GOLDEN) as traced:
        traced.ask("POST", "/predict", {"inputs": CANARY}, {"traceparent": f"00-{trace}-{parent}-01"})
        traced.ask("GET", f"/{CANARY}")
    collector.shutdown()
    collector.server_close()
    requests = [ExportTraceServiceRequest.FromString(content) for content in received]
    spans = [
        span
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert [span.name for span in spans] == ["POST /predict", "GET other"]
    assert (spans[0].trace_id.hex(), spans[0].parent_span_id.hex()) == (trace, parent)
    assert 0 < spans[0].end_time_unix_nano - spans[0].start_time_unix_nano < 10e9
    assert CANARY.encode() not in b"".join(received)

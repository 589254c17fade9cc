"""The service as clients meet it: one real process on a free port, real connections, and bodies of every kind."""

import gzip
import json
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.serve.running import GOLDEN, Answer, run

KEY, SECRET_TEXT = "open-sesame", "nobody may read this in a log"
JSON_TYPE = {"Content-Type": "application/json"}
GOOD = b'{"inputs": "good"}'
MAX_BODY_BYTES = 300_000


@dataclass(frozen=True)
class Service:
    port: int

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            key = {"Authorization": f"Bearer {KEY}"}
            connection.request(method, path, body=body, headers=key | dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.read(), {k.lower(): v for k, v in response.getheaders()})
        finally:
            connection.close()

    def predict(self, body: Any, headers: Mapping[str, str] = JSON_TYPE) -> Answer:
        return self.ask("POST", "/predict", body, headers)

    def send(self, data: bytes) -> socket.socket:
        """Send bytes as they are and return the connection."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(data)
        return connection


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service on a free port, with a key file as Notepad saves it; its log must hold no text and no key."""
    key_file = tmp_path_factory.mktemp("service") / "key.txt"
    key_file.write_bytes(b"\xef\xbb\xbf" + KEY.encode() + b" \r\nmy key, 2026\r\n")
    flags = ("--api-key-file", str(key_file), "--max-body-bytes", str(MAX_BODY_BYTES))
    with run(GOLDEN, *flags) as running:
        yield Service(running.port)
    assert len(running.log) == 1, "whatever clients send, the log is for the operator"


def test_the_key_of_the_file_opens_the_service_and_another_does_not(service: Service) -> None:
    assert service.predict(GOOD).status == 200
    refused = service.predict(GOOD, JSON_TYPE | {"Authorization": "Bearer \ufeff".encode().decode("latin-1") + KEY})
    assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert KEY not in refused.error


BLANKS = {
    "nothing": "",
    "white space": " \t\r\n",
    "an ideographic space": "\u3000",
    "a space that does not break": "\xa0\u2007",
    "a separator of lines": "\u2028",
}


@pytest.mark.parametrize("name", BLANKS)
def test_a_blank_text_is_refused_by_its_index(service: Service, name: str) -> None:
    blank = BLANKS[name]
    alone = service.predict(json.dumps({"inputs": blank}))
    assert alone.status == 400
    assert alone.error.startswith("No text in inputs: ")
    batch = service.predict(json.dumps({"inputs": ["good", blank, "bad", [blank]]}))
    assert (batch.status, json.loads(batch.body)["error_type"]) == (400, "Empty")
    assert batch.error.startswith("No text in inputs[1], inputs[3]: ")


@pytest.mark.parametrize(
    "text",
    ["\u200bgood", "👍🏽", "\U0001f468\u200d\U0001f469\u200d\U0001f466", ".", "ㅤ好", "\ud83d", "\0", "\ufeff", "\u200b"],
)
def test_every_character_but_white_space_is_a_text(service: Service, text: str) -> None:
    assert service.predict(json.dumps({"inputs": text})).status == 200


NOT_JSON_BY_HEADER: dict[str, tuple[dict[str, str], str]] = {
    "no type": ({}, "Content-Type is missing"),
    "what curl -d sends": ({"Content-Type": "application/x-www-form-urlencoded"}, "application/x-www-form-urlencoded"),
    "plain text": ({"Content-Type": "text/plain; charset=utf-8"}, "text/plain"),
    "a form": ({"Content-Type": "multipart/form-data; boundary=x"}, "multipart/form-data"),
    "bytes": ({"Content-Type": "application/octet-stream"}, "application/octet-stream"),
    "another encoding": ({"Content-Type": "application/json; charset=windows-1252"}, "JSON is UTF-8"),
    "gzip": (JSON_TYPE | {"Content-Encoding": "gzip"}, "Content-Encoding is 'gzip'"),
    "brotli": (JSON_TYPE | {"Content-Encoding": "br"}, "Content-Encoding is 'br'"),
}


@pytest.mark.parametrize("name", NOT_JSON_BY_HEADER)
def test_the_header_that_is_wrong_is_named(service: Service, name: str) -> None:
    headers, words = NOT_JSON_BY_HEADER[name]
    refused = service.predict(gzip.compress(GOOD) if name == "gzip" else GOOD, headers)
    assert refused.status == 415
    assert words in refused.error


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json; charset=utf-8"},
        {"content-type": 'Application/JSON;Charset="UTF-8"'},
        {"Content-Type": "application/vnd.api+json"},
        {"Content-Type": "application/json;", "Content-Encoding": "identity"},
    ],
)
def test_every_spelling_of_json_is_taken(service: Service, headers: dict[str, str]) -> None:
    assert service.predict(GOOD, headers).status == 200


BODIES: dict[str, tuple[bytes, int, str]] = {
    "cut off in a string": (b'{"inputs": "go', 400, "not JSON"),
    "cut off behind a comma": (b'{"inputs": "good",', 400, "it ends too early"),
    "nothing": (b"", 400, "is empty"),
    "a word": (b"good", 400, "not JSON"),
    "a query": (b"inputs=good", 400, "not JSON"),
    "two values": (GOOD + GOOD, 400, "line 1, column 19"),
    "code page 1252": ('{"inputs": "café"}'.encode("cp1252"), 400, "byte 15 is 0xe9"),
    "gzip without its header": (gzip.compress(GOOD), 400, "compressed with gzip. Send it uncompressed"),
    "UTF-16": ('{"inputs": "good"}'.encode("utf-16"), 400, "not UTF-8: byte 0 is 0xff"),
    "NaN": (b'{"inputs": NaN}', 400, "NaN is no number"),
    "a number of 9,000 digits": (b'{"inputs": ' + b"9" * 9000 + b"}", 400, "not JSON"),
    "brackets without end": (b'{"inputs": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400, "nested too deeply"),
    "braces without end": (b'{"inputs":' * 20_000, 400, "nested too deeply"),
    "a key twice": (b'{"inputs": "good", "inputs": "bad"}', 400, "'inputs' comes twice"),
    "a key twice below": (b'{"inputs": {"a": 1, "a": 2}}', 400, "'a' comes twice"),
    "a list": (b'["good"]', 422, "The body is a list"),
    "a text": (b'"good"', 422, "The body is a text"),
    "null": (b"null", 422, "The body is null"),
    "no inputs": (b"{}", 422, "inputs is missing"),
    "null for inputs": (b'{"inputs": null}', 422, "inputs is missing or null"),
    "a number": (b'{"inputs": 5}', 422, "inputs is a number, not a text"),
    "an object": (b'{"inputs": {"text": "a", "text_pair": "b"}}', 422, "inputs is an object"),
    "a list of nothing": (b'{"inputs": []}', 400, "inputs is empty"),
    "a list of empty lists": (b'{"inputs": [[]]}', 422, "inputs[0] is a list of 0"),
    "pairs": (b'{"inputs": [["a", "b"]]}', 422, "sentiment has no text pairs"),
    "null among texts": (b'{"inputs": ["good", null]}', 422, "inputs[1] is null"),
    "a number in a list": (b'{"inputs": [["good"], [1.5]]}', 422, "inputs[1][0] is a number"),
    "lists in lists": (b'{"inputs": [[["good"]]]}', 422, "inputs[0][0] is a list"),
    "too many texts": (json.dumps({"inputs": ["a"] * 1001}).encode(), 422, "at most 1000"),
    "an unknown key twice": (b'{"inputs": "good", "a": true, "a": true}', 400, "'a' comes twice"),
    "NaN in an unknown key": (b'{"inputs": "good", "a": NaN}', 400, "NaN is no number"),
    "a flag as a text": (b'{"inputs": "good", "truncate": "true"}', 422, "truncate is a text"),
    "a flag as a number": (b'{"inputs": "good", "raw_scores": 1}', 422, "raw_scores is a number"),
    "the other direction": (
        b'{"inputs": "good", "truncation_direction": "Left"}',
        422,
        "'Left', which is not supported",
    ),
    "no direction": (b'{"inputs": "good", "truncation_direction": 1}', 422, "truncation_direction is 1"),
    "a text that would be cut": (
        json.dumps({"inputs": "word " * 400, "truncate": False}).encode(),
        422,
        "truncate is false",
    ),
    "a large body": (json.dumps({"inputs": "x" * MAX_BODY_BYTES}).encode(), 413, f"larger than {MAX_BODY_BYTES} bytes"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_request_is_answered_with_what_is_wrong(service: Service, name: str) -> None:
    body, status, words = BODIES[name]
    refused = service.predict(body)
    assert refused.status == status
    assert words in refused.error
    assert len(refused.error) < 400


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + GOOD,
        b'{"inputs": "a \\ud83d b"}',
        b'{"inputs": "a\\u0000b"}',
        b' \r\n {"inputs": ["good"]} \r\n',
        b'{"inputs": ["good", ["bad"]]}',
        b'{"inputs": "good", "raw_scores": null, "truncate": null, "truncation_direction": null}',
        b'{"inputs": [["good"]], "raw_scores": false, "truncate": true, "truncation_direction": "Right"}',
        b'{"inputs": "good", "truncation_direction": "right"}',
        b'{"inputs": "good", "return_all_scores": true, "model": {"a": [1e9, null]}}',
    ],
)
def test_what_clients_send_is_taken(service: Service, body: bytes) -> None:
    answer = service.predict(body)
    assert answer.status == 200, answer.body
    assert json.loads(answer.body)


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/predict", 405, "POST"),
        ("HEAD", "/predict", 405, "POST"),
        ("OPTIONS", "/predict", 405, "POST"),
        ("PUT", "/predict", 405, "POST"),
        ("POST", "/health", 405, "GET"),
        ("DELETE", "/info", 405, "GET"),
        ("PUT", "/", 405, "GET, HEAD, POST"),
        ("POST", "/predict/", 404, None),
        ("POST", "/embed", 404, None),
        ("GET", "/%2e%2e/etc/passwd", 404, None),
    ],
)
def test_a_wrong_method_or_path_says_what_there_is(
    service: Service, method: str, path: str, status: int, allowed: str | None
) -> None:
    answer = service.ask(method, path, headers=JSON_TYPE)
    assert answer.status == status
    assert allowed is None or allowed in answer.headers["allow"]
    if method == "HEAD":
        assert answer.body == b""
    else:
        assert (allowed or "POST /predict") in answer.error


def test_health_and_info_answer_head(service: Service) -> None:
    for path in ("/health", "/info"):
        answer = service.ask("HEAD", path)
        assert (answer.status, answer.body) == (200, b"")


def test_a_client_that_waits_for_a_word_before_its_body_gets_it(service: Service) -> None:
    connection = service.send(_head(len(GOOD), b"Expect: 100-continue\r\nConnection: close\r\n"))
    assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
    connection.sendall(GOOD)
    assert _read_status(connection) == [200]


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0, HTTP/1.1"])
def test_a_client_that_asks_for_another_protocol_is_answered_in_this_one(service: Service, protocol: bytes) -> None:
    wish = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\n" % protocol
    connection = service.send(_head(len(GOOD), wish) + GOOD)
    assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    connection.close()


def test_a_body_in_chunks_needs_no_length(service: Service) -> None:
    assert service.predict(iter([b'{"inp', b'uts": "good"}'])).status == 200
    refused = service.predict(iter([b"x" * 100_000] * 4))
    assert refused.status == 413


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(service: Service) -> None:
    assert _read_status(service.send(_head(1 << 40, b"Connection: close\r\n"))) == [413]


def test_requests_in_one_connection_are_answered_in_order(service: Service) -> None:
    two = _head(len(GOOD)) + GOOD + _head(4) + b"evil" + _head(len(GOOD), b"Connection: close\r\n") + GOOD
    assert _read_status(service.send(two)) == [200, 400, 200]


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", b"\x16\x03\x01 hello", b"nonsense\r\n\r\n"],
    ids=["a header without end", "TLS", "nonsense"],
)
def test_what_is_no_request_ends_with_400(service: Service, data: bytes) -> None:
    connection = socket.create_connection(("127.0.0.1", service.port), timeout=30)
    try:
        connection.sendall(data)
        assert b" 400 " in connection.recv(1000)
    except ConnectionError:
        pass  # closed before all of it was sent
    assert service.ask("GET", "/health").status == 200


def test_a_client_that_goes_away_disturbs_nobody(service: Service) -> None:
    for sent in (_head(1000) + b'{"inputs', _head(len(GOOD)) + GOOD, b"POST /pre"):
        service.send(sent).close()
    body = json.dumps({"inputs": [f"{SECRET_TEXT} {number}" for number in range(200)]}).encode()
    service.send(_head(len(body)) + body).close()
    assert service.predict(GOOD).status == 200


def _head(length: int, more: bytes = b"") -> bytes:
    """Return the head of a request to /predict with a body of `length` bytes."""
    return (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %b\r\nContent-Length: %d\r\n%b\r\n" % (KEY.encode(), length, more)
    )


def _read_status(connection: socket.socket) -> list[int]:
    """Return the statuses of all answers on a connection, up to its end."""
    received = b""
    while piece := connection.recv(65536):
        received += piece
    connection.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]

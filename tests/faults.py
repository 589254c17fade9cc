"""Real faults for tests: no file can be opened, and a store between the client and the server that answers badly."""

import http.client
import os
import re
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from sentiment_ray.retrying import SystemClock


class FastClock(SystemClock):
    """A clock that does not wait, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.sleeps = 0

    def sleep(self, seconds: float) -> None:
        self.sleeps += 1


@contextmanager
def no_free_file_descriptors() -> Iterator[None]:
    """Let every opening of a file in this process fail with EMFILE until the block ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    first_free = os.dup(0)
    os.close(first_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@dataclass
class Answer:
    """What the proxy answers in the place of the server: an error of S3, or half of the body with `cuts`."""

    status: int = 200
    code: str = ""
    cuts: bool = False

    @property
    def body(self) -> bytes:
        message = {"ExpiredToken": "The provided token has expired."}.get(self.code, self.code)
        return f"<Error><Code>{self.code}</Code><Message>{message}</Message></Error>".encode()


@dataclass(frozen=True)
class Request:
    """What a client asks for; `key` is the access key that has signed the request."""

    method: str
    path: str
    query: str
    key: str


@dataclass
class Proxy:
    """An S3 endpoint on loopback. `judge` says of each request how it is answered; None passes it on to the server."""

    url: str = ""
    judge: Callable[[Request], Answer | None] = lambda request: None
    requests: list[Request] = field(default_factory=list)
    page_size: int = 1000
    """Objects in a page of a listing."""

    def answer(self, times: int, answer: Answer, *, method: str = "", path: str = "", query: str = "") -> None:
        """Answer the next requests of a kind so often, and pass on all others."""
        left = [times]

        def judge(request: Request) -> Answer | None:
            fits = method in ("", request.method) and path in request.path and query in request.query
            if not fits or not left[0]:
                return None
            left[0] -= 1
            return answer

        self.judge = judge


@contextmanager
def serve_proxy(server_url: str) -> Iterator[Proxy]:
    """Serve a proxy before an S3-compatible server until the block ends."""
    proxy = Proxy()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(proxy, urlsplit(server_url).netloc))
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()


def _make_handler(proxy: Proxy, server: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            signed_by = re.search(r"Credential=([^/]+)/", self.headers.get("Authorization", ""))
            path, _, query = self.path.partition("?")
            request = Request(self.command, unquote(path), unquote(query), signed_by[1] if signed_by else "")
            proxy.requests.append(request)
            answer = proxy.judge(request)
            if answer and not answer.cuts:
                self._send(answer.status, {"Content-Type": "application/xml"}, answer.body)
                return
            target = f"{self.path}&max-keys={proxy.page_size}" if "list-type=2" in self.path else self.path
            connection = http.client.HTTPConnection(server)
            connection.request(self.command, target, data, dict(self.headers.items()))
            reply = connection.getresponse()
            headers = {name: value for name, value in reply.getheaders() if name.lower() in KEPT_HEADERS}
            self._send(reply.status, headers, reply.read(), cuts=bool(answer))
            connection.close()

        def _send(self, status: int, headers: dict[str, str], body: bytes, *, cuts: bool = False) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "content-length" not in (name.lower() for name in headers):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if cuts else body)
            self.close_connection = cuts

        def log_message(self, format: str, *args: object) -> None:
            """Write nothing."""

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any

    return Handler


KEPT_HEADERS = {"etag", "last-modified", "content-length", "content-type", "content-range", "accept-ranges"}

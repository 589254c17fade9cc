"""A request and a response of HTTP on ASGI, and the error that ends a request; knows no texts and no models."""

import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from sentiment_ray.manifest import format_json

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = "application/json"


@dataclass(slots=True)
class Request:
    """One HTTP request. `path` is the path below the point where the application is mounted."""

    method: str
    path: str
    headers: Mapping[str, str]
    """The headers by their names in lower case; of a header that comes twice the last value."""
    receive: Receive
    start_s: float
    """The time of `time.perf_counter` at which the request arrived."""
    client: str = ""
    """The address of the client."""
    root_path: str = ""
    """The path at which the application is mounted."""
    body: bytes = b""
    """Empty until it has been read."""
    route: str = "other"
    """The path of the route that answers, once it is found."""
    path_values: Mapping[str, str] = field(default_factory=dict)
    """The parts of the path that the route leaves open."""


def make_request(scope: Scope, receive: Receive) -> Request:
    """Return a request whose head has just arrived."""
    return Request(
        method=scope["method"],
        path=get_route_path(scope),
        headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
        receive=receive,
        start_s=time.perf_counter(),
        client=(scope.get("client") or ("",))[0],
        root_path=str(scope.get("root_path", "")),
    )


@dataclass(slots=True)
class Response:
    """The answer to one request."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    async def send(self, send: Send, *, with_body: bool = True) -> None:
        """Send the answer; a request with HEAD is answered without the body."""
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        headers.append((b"content-length", str(len(self.body)).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body if with_body else b""})


class Refusal(Exception):
    """A request that is answered with an error: a status, a message, a type, and headers."""

    def __init__(
        self, status: int, message: str, error_type: str = "Validation", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error_type = error_type
        self.headers = dict(headers or {})


def make_json_response(content: Any, headers: Mapping[str, str] | None = None, *, status: int = 200) -> Response:
    """Return an answer whose body is JSON."""
    return Response(status, orjson.dumps(content), {"content-type": JSON, **(headers or {})})


def make_error_response(refusal: Refusal, path: str) -> Response:
    """Return the answer to a refused request: `{error}` below `/v2`, else `{error, error_type}`."""
    content = {"error": refusal.message}
    if not is_open_inference_path(path):
        content["error_type"] = refusal.error_type
    return Response(refusal.status, format_json(content).encode(), {"content-type": JSON, **refusal.headers})


def is_open_inference_path(path: str) -> bool:
    """Return whether a path belongs to the Open Inference Protocol, which has a form of errors of its own."""
    return path == "/v2" or path.startswith("/v2/")


def get_route_path(scope: Scope) -> str:
    """Return the path below the point where the application is mounted; `/` for that point itself.

    `request.url` must not decide anything: it is built from the Host header, which the client writes.
    """
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    if root and (path == root or path.startswith(f"{root.rstrip('/')}/")):
        path = path[len(root.rstrip("/")) :]
    return path or "/"

"""What is around every request: its id, the key, the quota, the limit of its body, the log; as a pure ASGI application.

Only an upload is passed on as it arrives. The body of any other request is read whole, up to its limit, before its
route runs.
"""

import asyncio
import re
import secrets
import time
from typing import Any

import orjson

from sentiment_ray.http_server.access_log import log_request
from sentiment_ray.log import log_bug
from sentiment_ray.openai_api.api_error import ApiError
from sentiment_ray.openai_api.authentication import Authenticator
from sentiment_ray.openai_api.request_quota import RequestQuota
from sentiment_ray.openai_api.service import Service

REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PUBLIC = ("/", "/health")
"""The page for browsers, which asks for a key itself, and the health; every other path needs a key."""
PREFIX = "/v1"
"""The path of the API; the framework names its routes without it."""
UPLOAD = ("POST", f"{PREFIX}/files")
READ_LIMIT_S = 30.0
"""How long a body may take to arrive; of an upload, how long the next piece of it may take."""
CLIENT_LEFT = 499
"""The status that is logged when a client did not wait for its answer."""

Scope = dict[str, Any]


class ClientGoneError(Exception):
    """The client has closed the connection, so nobody reads the answer."""


class RequestShell:
    """The ASGI application of the service around the application of its routes."""

    def __init__(self, routes: Any, service: Service) -> None:
        self._routes = routes
        self._config = service.config
        self._authenticator = Authenticator(service.database)
        self._quota = RequestQuota(service.config.max_requests_per_minute)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer a request; take part in the start and the end of the server; refuse WebSockets."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await self._routes(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Any, send: Any) -> None:
        start_s = time.perf_counter()
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        sender = _Sender(send, _choose_request_id(headers))
        scope["request_id"] = sender.request_id
        try:
            await self._answer_or_refuse(scope, headers, receive, sender)
        except ClientGoneError:
            pass
        finally:
            if self._config.access_log:
                log_request(
                    request_id=sender.request_id,
                    method=scope["method"] if scope["method"] in METHODS else "other",
                    route=_name_route(scope),
                    status=sender.status or CLIENT_LEFT,
                    duration_ms=1000 * (time.perf_counter() - start_s),
                    client=(scope.get("client") or ("",))[0],
                )

    async def _answer_or_refuse(self, scope: Scope, headers: dict[str, str], receive: Any, sender: "_Sender") -> None:
        try:
            if scope["path"] not in PUBLIC:
                scope["project_id"] = await self._authenticator.find_project(headers.get("authorization", ""))
                self._quota.count(scope["project_id"])
            if (scope["method"], scope["path"]) == UPLOAD:
                await self._routes(scope, _watch_upload(receive, sender), sender.send)
                return
            body = await self._read_body(headers, receive)
            sender.is_body_read = True
            await self._routes(scope, _replay(body, receive), sender.send)
            return
        except ApiError as refusal:
            error = refusal
        except ClientGoneError:
            raise
        except Exception as bug:
            log_bug(bug, f"{scope['method']} {_name_route(scope)}")
            error = make_server_error()
        if not sender.status:
            await sender.send_error(error, with_body=scope["method"] != "HEAD")

    async def _read_body(self, headers: dict[str, str], receive: Any) -> bytes:
        """Return the body, read no further than its limit whatever length was declared.

        ApiError: 413 when it is too large, 408 when it comes too slowly. ClientGoneError when the client has left.
        """
        limit = self._config.max_body_bytes
        too_large = ApiError(413, f"The body of the request is larger than {limit} bytes.", code="request_too_large")
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:  # the server's parser refuses more than 64 bits
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(READ_LIMIT_S):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGoneError
                    body += message.get("body", b"")
                    if len(body) > limit:
                        raise too_large
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise make_late_error() from None


def make_server_error() -> ApiError:
    """Return the answer to a request that met a bug of ours."""
    message = "The server had an error while processing your request. Its log says where."
    return ApiError(500, message, error_type="server_error")


def make_late_error() -> ApiError:
    """Return the answer to a request whose body stopped."""
    return ApiError(408, f"The body of the request did not arrive within {READ_LIMIT_S:g} s.", code="request_timeout")


def _name_route(scope: Scope) -> str:
    """Return the path of the route that answers, without what stands in the places that it leaves open."""
    route = getattr(scope.get("route"), "path", "other")
    is_cut = scope["path"].startswith(f"{PREFIX}/") and route.startswith("/") and not route.startswith(f"{PREFIX}/")
    return f"{PREFIX}{route}" if is_cut else route


def _choose_request_id(headers: dict[str, str]) -> str:
    """Return the client's own id of a request if it is sane, else a new one."""
    given = headers.get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(16)}"


def _watch_upload(receive: Any, sender: "_Sender") -> Any:
    """Return a `receive` that refuses a client which stops in the middle of an upload, and that notes its end."""

    async def receive_in_time() -> Any:
        try:
            async with asyncio.timeout(READ_LIMIT_S):
                message = await receive()
        except TimeoutError:
            raise make_late_error() from None
        sender.is_body_read = not message.get("more_body", False)
        return message

    return receive_in_time


def _replay(body: bytes, receive: Any) -> Any:
    """Return a `receive` that gives a body that was read before, and then what comes after it."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Any:
        return waiting.pop() if waiting else await receive()

    return receive_again


class _Sender:
    """Sends one answer with the request's id, and notes its status, which is 0 until then."""

    def __init__(self, send: Any, request_id: str) -> None:
        self.status = 0
        self.request_id = request_id
        self.is_body_read = False
        """Whether the request has arrived whole; else the connection cannot take another one after the answer."""
        self._send = send

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message of ASGI."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), (b"x-request-id", self.request_id.encode())]
            if not self.is_body_read:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)

    async def send_error(self, error: ApiError, *, with_body: bool) -> None:
        """Send an error."""
        body = orjson.dumps(error.make_body())
        headers = [(name.encode(), value.encode()) for name, value in error.headers.items()]
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body if with_body else b""})

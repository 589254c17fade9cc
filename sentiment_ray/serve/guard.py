"""The door of the service: who may ask, how large, how slow and how late a request may be; counts and logs each one."""

import asyncio
import ipaddress
import random
import re
import time
from collections.abc import Mapping, Set

from sentiment_ray.serve.access_log import log_request
from sentiment_ray.serve.http import (
    AsgiApp,
    Message,
    Receive,
    Refusal,
    Scope,
    Send,
    get_route_path,
    make_error_response,
    read_headers,
)
from sentiment_ray.serve.scoring import log_bug
from sentiment_ray.serve.service import Service, State

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
MAX_LENGTH_DIGITS = 18
"""A Content-Length with more digits is above every limit."""
CLIENT_LEFT = 499
"""The status that is counted when a client did not wait for its answer."""


class Guard:
    """ASGI middleware around the application. Every answer has the header X-Request-Id, the client's own if it is sane.

    It compares the path of the ASGI scope, which the router reads too. A URL must not decide anything: it is built
    from the Host header, which the client writes (CVE-2026-48710).
    """

    def __init__(self, app: AsgiApp, service: Service, *, open_routes: Set[tuple[str, str]]) -> None:
        self._app = app
        self._open_routes = open_routes
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start_s = time.perf_counter()
        headers = read_headers(scope)
        request_id = headers.get("x-request-id", "")
        if not REQUEST_ID.fullmatch(request_id):
            request_id = f"{random.getrandbits(64):016x}"
        answering = _Answering(send, request_id)
        try:
            await self._answer(scope, receive, answering, headers)
        finally:
            self._note(scope, headers, request_id, answering.status, time.perf_counter() - start_s)

    def _note(self, scope: Scope, headers: Mapping[str, str], request_id: str, status: int, seconds: float) -> None:
        """Count, log and trace a request that has ended."""
        service, route = self._service, scope.get("sentiment_ray.route", "other")
        method = scope["method"] if scope["method"] in METHODS else "other"
        status = status or CLIENT_LEFT
        service.metrics.note_request(route, status, seconds)
        if service.tracing:
            service.tracing.record(headers, method=method, route=route, status=status, seconds=seconds)
        if service.config.access_log:
            client = (scope.get("client") or ("",))[0]
            log_request(
                request_id=request_id,
                method=method,
                route=route,
                status=status,
                duration_ms=1000 * seconds,
                client=client,
            )

    async def _answer(
        self, scope: Scope, receive: Receive, answering: "_Answering", headers: Mapping[str, str]
    ) -> None:
        config = self._service.config
        body: bytes | None = None
        try:
            async with asyncio.timeout(config.read_limit_s) as timer:
                self._check_caller(scope, headers)
                body = await self._read_body(headers, receive)
                if body is None:
                    return
                timer.reschedule(asyncio.get_running_loop().time() + config.deadline_s)
                await self._app(scope, _replay(body, receive), answering.send)
            return
        except Refusal as error:
            refusal = error
        except TimeoutError:
            if body is None:
                message = f"The body did not arrive within {config.read_limit_s:g} s."
                refusal = Refusal(408, message, "Timeout")
            else:
                message = f"The answer took longer than {config.deadline_s:g} s. Send fewer texts, or try again."
                refusal = Refusal(504, message, "Timeout")
        except Exception as error:
            log_bug(error, "a request")
            refusal = Refusal(500, "The service failed. Its log says where.", "Backend")
        if not answering.status:
            if body is None:  # the client may still be sending it
                refusal.headers["Connection"] = "close"
            response = make_error_response(refusal, get_route_path(scope))
            await response.send(answering.send, with_body=scope["method"] != "HEAD")

    def _check_caller(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Refuse with 401 a request without a key, with 403 an order from another machine, with 503 an early one."""
        path = get_route_path(scope)
        is_open = (scope["method"], path) in self._open_routes
        if not is_open and not self._service.api_keys.accept(headers.get("authorization", "")):
            message = "The API key is missing or wrong: send Authorization: Bearer KEY."
            raise Refusal(401, message, "Unauthorized", headers={"WWW-Authenticate": "Bearer"})
        if path.startswith("/admin/") and not _comes_from_this_machine(scope, headers):
            raise Refusal(403, f"{path} answers only on the machine of the service.", "Unauthorized")
        if self._service.state is State.STARTING and not is_open:
            raise Refusal(503, "The service is starting. Try again a little later.", "Unhealthy")

    async def _read_body(self, headers: Mapping[str, str], receive: Receive) -> bytes | None:
        """Return the body, read no further than its limit whatever length was declared; None when the client left."""
        limit = self._service.config.max_body_bytes
        too_large = Refusal(413, f"The body is larger than {limit} bytes.")
        declared = headers.get("content-length", "")
        if declared.isdecimal() and (len(declared) > MAX_LENGTH_DIGITS or int(declared) > limit):
            raise too_large
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > limit:
                raise too_large
            if not message.get("more_body", False):
                return bytes(body)


class _Answering:
    """Sends an answer, adds the request's id to its head and notes its status, which is 0 until then."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.status = 0
        self._send = send
        self._header = (b"x-request-id", request_id.encode("latin-1"))

    async def send(self, message: Message) -> None:
        """Send one ASGI message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), self._header]
        await self._send(message)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body that was read, then whatever the client sends."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _comes_from_this_machine(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Return whether the client itself is on this machine, and not only a proxy that passes on a request."""
    if headers.keys() & {"forwarded", "x-forwarded-for", "x-real-ip", "via"}:
        return False
    try:
        return ipaddress.ip_address((scope.get("client") or ("",))[0]).is_loopback
    except ValueError:
        return False

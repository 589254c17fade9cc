"""The door of the service: who may ask, how large, how slow and how late a request may be; counts and logs each one."""

import asyncio
import ipaddress
import random
import re
import time
from collections.abc import Awaitable, Callable, Set

from sentiment_ray.bundle.files import quote
from sentiment_ray.http_server.access_log import log_request
from sentiment_ray.log import log_bug
from sentiment_ray.serve.http import (
    Receive,
    Refusal,
    Request,
    Response,
    Scope,
    Send,
    make_error_response,
    make_request,
)
from sentiment_ray.serve.scoring import ClientGoneError
from sentiment_ray.serve.service import Service, State

Answer = Callable[[Request], Awaitable[Response]]
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
MAX_LENGTH_DIGITS = 18
"""A Content-Length with more digits is above every limit."""
CLIENT_LEFT = 499
"""The status that is counted when a client did not wait for its answer."""


class Guard:
    """An ASGI application of HTTP around a function that answers requests.

    Every answer has the header X-Request-Id, the client's own if it is sane. Every error has the form of its contract.
    """

    def __init__(self, answer: Answer, service: Service, *, open_routes: Set[tuple[str, str]]) -> None:
        self._answer = answer
        self._open_routes = open_routes
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = make_request(scope, receive)
        request_id = request.headers.get("x-request-id", "")
        if not REQUEST_ID.fullmatch(request_id):
            request_id = f"{random.getrandbits(64):016x}"
        sender = _Sender(send, request_id, with_body=request.method != "HEAD")
        try:
            await self._answer_in_time(request, sender)
        finally:
            self._note(request, request_id, sender.status)

    def _note(self, request: Request, request_id: str, status: int) -> None:
        """Count, log and trace a request that has ended."""
        service, seconds = self._service, time.perf_counter() - request.start_s
        method = request.method if request.method in METHODS else "other"
        status = status or CLIENT_LEFT
        service.metrics.note_request(request.route, status, seconds)
        if service.tracing:
            service.tracing.record(request.headers, method=method, route=request.route, status=status, seconds=seconds)
        if service.config.access_log:
            log_request(
                request_id=request_id,
                method=method,
                route=request.route,
                status=status,
                duration_ms=1000 * seconds,
                client=request.client,
            )

    async def _answer_in_time(self, request: Request, sender: "_Sender") -> None:
        config, is_read = self._service.config, False
        try:
            async with asyncio.timeout(config.read_limit_s) as timer:
                self._check_caller(request)
                request.body = await self._read_body(request)
                is_read = True
                timer.reschedule(asyncio.get_running_loop().time() + config.deadline_s)
                response = await self._answer(request)
                await sender.send(response)
            return
        except ClientGoneError:
            return
        except Refusal as error:
            refusal = error
        except TimeoutError:
            if is_read:
                message = f"The answer took longer than {config.deadline_s:g} s. Send fewer texts, or try again."
                refusal = Refusal(504, message, "Timeout")
            else:
                refusal = Refusal(408, f"The body did not arrive within {config.read_limit_s:g} s.", "Timeout")
        except Exception as error:
            log_bug(error, f"{quote(request.method)} {quote(request.path)}")
            refusal = Refusal(500, "The service failed. Its log says where.", "Backend")
        if not sender.status:
            if not is_read:  # the client may still be sending it
                refusal.headers["Connection"] = "close"
            await sender.send(make_error_response(refusal, request.path))

    def _check_caller(self, request: Request) -> None:
        """Refuse with 401 a request without a key, with 403 an order from another machine, with 503 an early one."""
        is_open = (request.method, request.path) in self._open_routes
        if not is_open and not self._service.api_keys.accept(request.headers.get("authorization", "")):
            message = "The API key is missing or wrong: send Authorization: Bearer KEY."
            raise Refusal(401, message, "Unauthorized", headers={"WWW-Authenticate": "Bearer"})
        if request.path.startswith("/admin/") and not _comes_from_this_machine(request):
            raise Refusal(403, f"{request.path} answers only on the machine of the service.", "Unauthorized")
        if self._service.state is State.STARTING and not is_open:
            raise Refusal(503, "The service is starting. Try again a little later.", "Unhealthy")

    async def _read_body(self, request: Request) -> bytes:
        """Return the body, read no further than its limit whatever length was declared.

        Refusal: 413 when it is too large. ClientGoneError when the client has left.
        """
        limit = self._service.config.max_body_bytes
        too_large = Refusal(413, f"The body is larger than {limit} bytes.")
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and (len(declared) > MAX_LENGTH_DIGITS or int(declared) > limit):
            raise too_large
        pieces: list[bytes] = []
        num_bytes = 0
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            pieces.append(message.get("body", b""))
            num_bytes += len(pieces[-1])
            if num_bytes > limit:
                raise too_large
            if not message.get("more_body", False):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Sender:
    """Sends one answer with the request's id, and notes its status, which is 0 until then."""

    def __init__(self, send: Send, request_id: str, *, with_body: bool) -> None:
        self.status = 0
        self._send = send
        self._request_id = request_id
        self._with_body = with_body

    async def send(self, response: Response) -> None:
        """Send an answer."""
        self.status = response.status
        response.headers["x-request-id"] = self._request_id
        await response.send(self._send, with_body=self._with_body)


def _comes_from_this_machine(request: Request) -> bool:
    """Return whether the client itself is on this machine, and not only a proxy that passes on a request."""
    if request.headers.keys() & {"forwarded", "x-forwarded-for", "x-real-ip", "via"}:
        return False
    try:
        return ipaddress.ip_address(request.client).is_loopback
    except ValueError:
        return False

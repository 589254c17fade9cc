"""The door of the service: who may ask, and how large a body may be; knows no texts and no models."""

import secrets
from collections.abc import Mapping, Set

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
from sentiment_ray.serve.service import Service


class Guard:
    """ASGI middleware that answers 401 without the API key, and 413 when the body is too large.

    It compares the path of the ASGI scope, which the router reads too. A URL must not decide anything: it is built
    from the Host header, which the client writes (CVE-2026-48710).
    """

    def __init__(self, app: AsgiApp, service: Service, *, open_routes: Set[tuple[str, str]]) -> None:
        self._app = app
        self._open_routes = open_routes
        self._authorization = f"Bearer {service.api_key}".encode() if service.api_key else None
        self._max_body_bytes = service.config.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = get_route_path(scope)
        try:
            headers = read_headers(scope)
            if (scope["method"], path) not in self._open_routes:
                self._check_key(headers)
            body = await self._read_body(headers, receive)
        except Refusal as refusal:
            await make_error_response(refusal, path).send(send, with_body=scope["method"] != "HEAD")
            return
        if body is not None:
            await self._app(scope, _replay(body, receive), send)

    def _check_key(self, headers: Mapping[str, str]) -> None:
        given = headers.get("authorization", "").encode("latin-1")  # the bytes of the header, as they were sent
        if self._authorization and not secrets.compare_digest(given, self._authorization):
            message = "The API key is missing or wrong: send Authorization: Bearer KEY."
            raise Refusal(401, message, "Unauthorized", headers={"WWW-Authenticate": "Bearer"})

    async def _read_body(self, headers: Mapping[str, str], receive: Receive) -> bytes | None:
        """Return the body, read no further than its limit whatever length was declared; None when the client left."""
        too_large = Refusal(413, f"The body is larger than {self._max_body_bytes} bytes.")
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_body_bytes:
            raise too_large
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._max_body_bytes:
                raise too_large
            if not message.get("more_body", False):
                return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body that was read, then whatever the client sends."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay

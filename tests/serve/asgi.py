"""Calls an application as a server does, past every check of a client's library."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sentiment_ray.serve.http import AsgiApp, Message


async def call_app(
    app: AsgiApp, path: str, receive: Callable[[], Awaitable[Message]], headers: Mapping[str, bytes]
) -> list[Message]:
    """Send POST `path`, whose body comes from `receive`, and return what the application sends."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value) for name, value in headers.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8080),
    }
    await app(scope, receive, send)
    return sent

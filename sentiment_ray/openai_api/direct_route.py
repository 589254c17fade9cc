"""Answers the route that is asked most often without the framework, whose routing and checks cost 0.2 ms a request."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from fastapi import FastAPI, Request, Response

from sentiment_ray.openai_api.api_error import ApiError

Handler = Callable[[Request], Awaitable[Response]]


class DirectRoute:
    """An ASGI application that gives the requests of one route to its function, and all others to the framework.

    The route stays one of the framework's, which describes it in the OpenAPI document.
    """

    def __init__(
        self, app: FastAPI, method: str, path: str, handler: Handler, answer_error: Callable[[ApiError], Response]
    ) -> None:
        self._app = app
        self._method, self._path = method, path
        self._handler = handler
        self._answer_error = answer_error
        self._route = SimpleNamespace(path=path)
        """What the access log takes the name of the route from."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != self._method:
            await self._app(scope, receive, send)
            return
        scope["app"], scope["route"] = self._app, self._route
        try:
            response = await self._handler(Request(scope, receive))
        except ApiError as error:
            response = self._answer_error(error)
        await response(scope, receive, send)

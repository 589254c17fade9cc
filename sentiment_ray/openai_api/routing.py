"""What every module of routes uses: a router that reads bodies as JSON, the project that asks, and the service."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import AfterValidator, Field

from sentiment_ray.openai_api.service import Service

MAX_METADATA_PAIRS = 16


def _check_metadata(pairs: dict[str, str]) -> dict[str, str]:
    if len(pairs) > MAX_METADATA_PAIRS:
        raise ValueError(f"at most {MAX_METADATA_PAIRS} pairs")
    if any("\0" in text for pair in pairs.items() for text in pair):
        raise ValueError("the character U+0000 is not allowed")
    return pairs


Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], AfterValidator(_check_metadata)
]
"""Pairs that a job or a batch is given, and shows again."""


class JsonRequest(Request):
    """A request whose body is read by orjson, which refuses NaN, halves of surrogate pairs and deep nesting."""

    async def json(self) -> Any:
        """Return the value of the body; json.JSONDecodeError when it is no JSON."""
        if not hasattr(self, "_json"):
            self._json = orjson.loads(await self.body())
        return self._json


class JsonRoute(APIRoute):
    """A route that reads its body as `JsonRequest` does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that answers a request."""
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await answer(JsonRequest(request.scope, request.receive))

        return handle


def make_router() -> APIRouter:
    """Return an empty router; app.py puts its routes below /v1."""
    return APIRouter(route_class=JsonRoute)


async def _get_project_id(request: Request) -> str:
    return str(request.scope["project_id"])


async def _get_service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _get_num_retries(request: Request) -> int:
    given = request.headers.get("x-stainless-retry-count", "")
    return int(given) if given.isdecimal() and len(given) < 10 else 0


ProjectId = Annotated[str, Depends(_get_project_id)]
"""The id of the project whose key the request has."""
CurrentService = Annotated[Service, Depends(_get_service)]
"""The service that answers."""
NumRetries = Annotated[int, Depends(_get_num_retries)]
"""How often the client has sent the request before, as its header x-stainless-retry-count says."""

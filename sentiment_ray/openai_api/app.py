"""The application: routes below /v1, the form of errors, and the OpenAPI document."""

from functools import partial
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from sentiment_ray.http_server.browser_page.build import build_page
from sentiment_ray.openai_api.api_error import ApiError
from sentiment_ray.openai_api.direct_route import DirectRoute
from sentiment_ray.openai_api.document import make_document
from sentiment_ray.openai_api.request_shell import PREFIX, RequestShell, make_server_error
from sentiment_ray.openai_api.routes import batches, chat, decisions, files, fine_tuning, models, responses
from sentiment_ray.openai_api.service import Service
from sentiment_ray.openai_api.validation_errors import explain

MODULES = (files, models, fine_tuning, batches, chat, responses, decisions)


def create_app(service: Service) -> RequestShell:
    """Return the ASGI application of a service."""
    app = FastAPI(title="sentiment-ray", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.service = service
    for module in MODULES:
        app.include_router(module.router, prefix=PREFIX)
    app.openapi = partial(make_document, app)  # type: ignore[method-assign]
    app.add_api_route("/health", _answer_health, methods=["GET"], include_in_schema=False)
    app.add_api_route("/", _show_page, methods=["GET"], include_in_schema=False)
    app.add_exception_handler(ApiError, _answer_api_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(Exception, _answer_bug)
    chats = DirectRoute(app, "POST", "/v1/chat/completions", chat.create_chat_completion, _answer_error)
    return RequestShell(chats, service)


async def _answer_health() -> dict[str, str]:
    return {"status": "ok"}


async def _show_page() -> Response:
    """Send the page that compares two models; it asks for a key itself."""
    page, headers = build_page(Path(__file__).parent / "playground")
    return Response(page, 200, headers)


def _answer_error(error: ApiError) -> Response:
    body = orjson.dumps(error.make_body())
    return Response(body, error.status, {"content-type": "application/json", **error.headers})


async def _answer_api_error(request: Request, error: Any) -> Response:
    return _answer_error(error)


async def _answer_invalid(request: Request, error: Any) -> Response:
    return _answer_error(explain(error.errors()))


async def _answer_http_error(request: Request, error: Any) -> Response:
    """Answer what the router itself refuses: an unknown path or method, or a body that it cannot read."""
    method, path = request.method, request.url.path
    if error.status_code == 404:
        return _answer_error(ApiError(404, f"Invalid URL ({method} {path})", code="unknown_url"))
    if error.status_code == 405:
        message = f"Not allowed to {method} on {path}."
        allowed = {"allow": ", ".join(_list_methods(request.scope["path"]))}
        return _answer_error(ApiError(405, message, code="method_not_supported", headers=allowed))
    return _answer_error(ApiError(error.status_code, str(error.detail)))


def _list_methods(path: str) -> list[str]:
    """Return the methods of all routes with a path; the router itself names those of the first route alone."""
    routes = [route for module in MODULES for route in module.router.routes if isinstance(route, APIRoute)]
    found = [route for route in routes if route.path_regex.fullmatch(path.removeprefix(PREFIX))]
    return sorted({method for route in found for method in route.methods or ()}) or ["GET"]


async def _answer_bug(request: Request, error: Exception) -> Response:
    """Answer a bug of ours; the request's shell logs it, as the framework raises it again."""
    return _answer_error(make_server_error())

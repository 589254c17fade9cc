"""The OpenAPI document of the service, made from its table of routes."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sentiment_ray import __version__
from sentiment_ray.serve.contracts import open_inference_schemas, text_embeddings_inference_schemas
from sentiment_ray.serve.http import is_open_inference_path
from sentiment_ray.serve.operation import JSON, SCORING_STATUSES, Operation, refer
from sentiment_ray.serve.routes import Route

COMMON_STATUSES = (408, 413, 500, 503, 504)
"""Every route may answer with these."""
STATUSES = {
    400: "The body is no JSON, or there is no text in the request.",
    401: "The API key is missing or wrong.",
    403: "The request comes from another machine.",
    404: "There is no such model or version.",
    408: "The request came too slowly.",
    413: "The body is larger than `max_body_bytes`.",
    415: "The headers say that the body is not JSON, or that it is compressed.",
    422: "The body is JSON but no such request, there are too many texts, or one is too long.",
    424: "The model failed, or it cannot do this.",
    429: "Too much waits for the model. Try again after `Retry-After` seconds.",
    500: "The service has a bug. Its log says where.",
    501: "The service knows no directory to read the bundle from.",
    503: "The service starts, or it is about to end.",
    504: "The deadline has passed.",
}
ERROR_HEADERS = {
    401: {"WWW-Authenticate": "The scheme of the key: `Bearer`."},
    429: {"Retry-After": "Seconds to wait before the next try."},
}
ID_HEADER = {"X-Request-Id": "The id of the request: the client's own, or a new one."}
TIMING_HEADERS = {
    "x-compute-type": "`cpu` or `gpu`, and the engine.",
    "x-compute-time": "Milliseconds from the request to the answer.",
    "x-compute-characters": "Characters of all texts.",
    "x-compute-tokens": "Tokens of all texts.",
    "x-total-time": "Milliseconds from the request to the answer.",
    "x-tokenization-time": "Milliseconds until the texts were tokens.",
    "x-queue-time": "Milliseconds that the tokens waited for the model.",
    "x-inference-time": "Milliseconds of the model.",
}
PATH_PARAMETERS = {
    "model": "Name of the model: the key `name` of [serve].",
    "version": "`1` for the bundle that answers now, or a bundle's id.",
}


def make_document(routes: Iterable[Route], *, max_texts: int, has_key: bool, root_path: str = "") -> dict[str, Any]:
    """Return the document.

    `has_key` is whether the service asks for an API key, `root_path` the path at which the application is mounted.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if route.operation:
            paths.setdefault(route.path, {})[route.method.lower()] = _describe(route, route.operation, has_key)
    schemas = text_embeddings_inference_schemas.make_schemas(max_texts) | open_inference_schemas.make_schemas(max_texts)
    components: dict[str, Any] = {"schemas": schemas}
    if has_key:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sentiment-ray",
            "version": __version__,
            "description": "Sentiment of texts. Unknown keys of a request are ignored.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": root_path or "/"}],
        "paths": paths,
        "components": components,
    }


def _describe(route: Route, operation: Operation, has_key: bool) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": _describe_answers(route, operation, has_key),
    }
    names = re.findall(r"{(\w+)}", route.path)
    if names:
        described["parameters"] = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": PATH_PARAMETERS[name],
                "schema": {"type": "string"},
            }
            for name in names
        ]
    if operation.request:
        described["requestBody"] = {"required": True, "content": _describe_content(operation.request)}
    if has_key and route.needs_key:
        described["security"] = [{"key": []}]
    return described


def _describe_answers(route: Route, operation: Operation, has_key: bool) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    if not operation.always_fails:
        success: dict[str, Any] = {"description": operation.summary}
        if operation.answer:
            success["content"] = _describe_content(operation.answer)
        success["headers"] = _describe_headers(ID_HEADER | (TIMING_HEADERS if operation.has_timing_headers else {}))
        answers["200"] = success
    error = "OpenInferenceError" if is_open_inference_path(route.path) else "Error"
    key_statuses = (401,) if has_key and route.needs_key else ()
    scoring_statuses = SCORING_STATUSES if operation.scores else ()
    for status in sorted({*COMMON_STATUSES, *operation.statuses, *scoring_statuses, *key_statuses}):
        answers[str(status)] = {
            "description": STATUSES[status],
            "headers": _describe_headers(ID_HEADER | ERROR_HEADERS.get(status, {})),
            "content": {JSON: {"schema": refer(error)}},
        }
    return answers


def _describe_content(schemas: Mapping[str, Any]) -> dict[str, Any]:
    return {media_type: {"schema": schema} for media_type, schema in schemas.items()}


def _describe_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}

"""The OpenAPI document of the service: what the framework writes, with the form of errors and the key."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from sentiment_ray.openai_api.objects import ErrorBody
from sentiment_ray.versions import installed_versions

FRAMEWORKS_ERRORS = ("HTTPValidationError", "ValidationError")
"""Schemas of errors that the framework would answer with 422."""


def make_document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document; it is made once."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(title="sentiment-ray", version=installed_versions()["sentiment-ray"], routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in FRAMEWORKS_ERRORS:
        schemas.pop(name, None)
    error_schema = ErrorBody.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= error_schema.pop("$defs") | {"ErrorBody": error_schema}
    error_content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"]["401"] = {"description": "The key is missing or wrong.", "content": error_content}
            operation["responses"]["default"] = {"description": "Any other error.", "content": error_content}
            operation["security"] = [{"key": []}]
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    app.openapi_schema = document
    return document

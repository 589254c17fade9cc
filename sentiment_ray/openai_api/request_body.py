"""Reads the JSON body of a request into a pydantic model; what is wrong with it becomes an ApiError."""

from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from sentiment_ray.openai_api.api_error import ApiError
from sentiment_ray.openai_api.validation_errors import describe, explain

Body = TypeVar("Body", bound="StrictBody")

MAX_QUOTED_CHARACTERS = 100


class StrictBody(BaseModel):
    """The base class of strict bodies: no unknown keys, and no value of one type that is taken for another."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


def read_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body. ApiError for anything else, for bad UTF-8 and for too much nesting."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"We could not parse the JSON body of your request: {_describe_position(error)}.") from None
    if not isinstance(value, dict):
        raise ApiError(400, f"The body of the request must be a JSON object, but it is {describe(value)}.")
    return value


def read_body(model: type[Body], body: bytes | Mapping[str, Any], *, refused: Mapping[str, str]) -> Body:
    """Return a body as `model`. ApiError for what the model does not take.

    `refused` has the fields that this service does not offer, each with what to use; null stands for a field that was
    left out.
    """
    values = read_json(body) if isinstance(body, bytes) else dict(body)
    for field, advice in refused.items():
        if values.pop(field, None) is not None:
            raise unsupported(field, advice)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise explain(error.errors(include_url=False)) from None


def unsupported(param: str, advice: str) -> ApiError:
    """Return the answer for a field or a value that this service does not offer; `advice` says what to use."""
    return ApiError(400, f"'{param}' is not supported here. {advice}", param=param, code="unsupported_parameter")


def invalid_value(param: str, problem: str) -> ApiError:
    """Return the answer for a value that cannot be taken; `problem` is a sentence."""
    return ApiError(400, f"Invalid '{param}': {problem}", param=param, code="invalid_value")


def invalid_type(param: str, wanted: str, given: Any) -> ApiError:
    """Return the answer for a value of the wrong type; `wanted` is such as `a string`."""
    message = f"Invalid type for '{param}': expected {wanted}, but got {describe(given)} instead."
    return ApiError(400, message, param=param, code="invalid_type")


def missing(param: str) -> ApiError:
    """Return the answer for a field that must be given."""
    return ApiError(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def unknown_parameter(param: str) -> ApiError:
    """Return the answer for a key, inside another field, that the API does not know."""
    return ApiError(400, f"Unknown parameter: '{quote(param)}'.", param=quote(param), code="unknown_parameter")


def quote(text: str) -> str:
    """Return a text from outside as it may stand in a message: bounded and in one line."""
    return " ".join(text[:MAX_QUOTED_CHARACTERS].split())


def _describe_position(error: orjson.JSONDecodeError) -> str:
    return f"{error.msg} (line {error.lineno}, column {error.colno})"

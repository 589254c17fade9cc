"""Reads the JSON body of a request into a pydantic model; what is wrong with it becomes an ApiError."""

from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from sentiment_ray.openai_api.api_error import ApiError

Body = TypeVar("Body", bound="RequestBody")

MAX_QUOTED_CHARACTERS = 100
TYPE_NAMES = {
    "bool_type": "a boolean",
    "dict_type": "an object",
    "float_type": "a number",
    "int_type": "an integer",
    "list_type": "an array",
    "model_type": "an object",
    "string_type": "a string",
}
GIVEN_NAMES = {bool: "a boolean", dict: "an object", float: "a number", int: "an integer", list: "an array"}
TOO_SMALL = ("greater_than", "greater_than_equal", "too_short", "string_too_short")
TOO_LARGE = ("less_than", "less_than_equal", "too_long", "string_too_long")


class RequestBody(BaseModel):
    """The base class of all bodies: no unknown keys, and no value of one type that is taken for another."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


def read_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body. ApiError for anything else, for bad UTF-8 and for too much nesting."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"We could not parse the JSON body of your request: {_describe_position(error)}.") from None
    if not isinstance(value, dict):
        raise ApiError(400, f"The body of the request must be a JSON object, but it is {_name_type(value)}.")
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
        raise explain_invalid(error) from None


def unsupported(param: str, advice: str) -> ApiError:
    """Return the answer for a field or a value that this service does not offer; `advice` says what to use."""
    return ApiError(400, f"'{param}' is not supported here. {advice}", param=param, code="unsupported_parameter")


def invalid_value(param: str, problem: str) -> ApiError:
    """Return the answer for a value that cannot be taken; `problem` is a sentence."""
    return ApiError(400, f"Invalid '{param}': {problem}", param=param, code="invalid_value")


def invalid_type(param: str, wanted: str, given: Any) -> ApiError:
    """Return the answer for a value of the wrong type; `wanted` is such as `a string`."""
    message = f"Invalid type for '{param}': expected {wanted}, but got {_name_type(given)} instead."
    return ApiError(400, message, param=param, code="invalid_type")


def missing(param: str) -> ApiError:
    """Return the answer for a field that must be given."""
    return ApiError(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def unknown_parameter(param: str) -> ApiError:
    """Return the answer for a key, inside another field, that the API does not know."""
    return ApiError(400, f"Unknown parameter: '{quote(param)}'.", param=quote(param), code="unknown_parameter")


def explain_invalid(error: ValidationError) -> ApiError:
    """Return the answer for what pydantic found: unknown arguments first, then the first other error."""
    errors = error.errors(include_url=False, include_context=True)
    unknown = [str(item["loc"][0]) for item in errors if item["type"] == "extra_forbidden" and len(item["loc"]) == 1]
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        names = ", ".join(map(quote, unknown[:10]))
        return ApiError(400, f"Unrecognized request argument{plural} supplied: {names}")
    first = errors[0]
    param, kind = join_location(first["loc"]), first["type"]
    if kind == "missing":
        return missing(param)
    if kind == "extra_forbidden":
        return unknown_parameter(param)
    if kind in TYPE_NAMES:
        return invalid_type(param, TYPE_NAMES[kind], first["input"])
    message = first["msg"].removeprefix("Value error, ")
    if kind in TOO_SMALL or kind in TOO_LARGE:
        code = "value_below_minimum" if kind in TOO_SMALL else "value_above_maximum"
        return ApiError(400, f"Invalid '{param}': {message}.", param=param, code=code)
    return invalid_value(param, f"{message}.")


def join_location(location: tuple[int | str, ...]) -> str:
    """Return keys and indices as one name such as `messages[0].role`."""
    name = ""
    for part in location:
        name += f"[{part}]" if isinstance(part, int) else f".{part}"
    return name.removeprefix(".")


def quote(text: str) -> str:
    """Return a text from outside as it may stand in a message: bounded and in one line."""
    return " ".join(text[:MAX_QUOTED_CHARACTERS].split())


def _describe_position(error: orjson.JSONDecodeError) -> str:
    return f"{error.msg} (line {error.lineno}, column {error.colno})"


def _name_type(value: Any) -> str:
    if value is None:
        return "null"
    return "a string" if isinstance(value, str) else GIVEN_NAMES.get(type(value), "another type")

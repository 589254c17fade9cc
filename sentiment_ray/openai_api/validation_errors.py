"""Turns what pydantic finds wrong with a request into the error that the API's clients know."""

from collections.abc import Mapping, Sequence
from typing import Any

from sentiment_ray.openai_api.api_error import ApiError

KINDS = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "a boolean",
    "bool_parsing": "a boolean",
    "list_type": "an array",
    "tuple_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
"""What a field must be, for each type of pydantic's errors."""
PARTS = frozenset({"body", "query", "path", "header"})


def explain(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """Return the error of the answer for what pydantic found; its status is always 400."""
    unknown = [str(error["loc"][-1]) for error in errors if error["type"] == "extra_forbidden"]
    if unknown:
        arguments = "argument" if len(unknown) == 1 else "arguments"
        return ApiError(400, f"Unrecognized request {arguments} supplied: {', '.join(unknown)}")
    error = errors[0]
    if error["type"] == "json_invalid":
        return ApiError(400, "We could not parse the JSON body of your request. Send one JSON object.")
    path = list(error["loc"])
    if path and path[0] in PARTS:
        path = path[1:]
    if not path:
        message = (
            "The body of the request must be a JSON object. Send it with the header Content-Type: application/json."
        )
        return ApiError(400, message)
    return _explain_field(name_field(path), error)


def name_field(path: Sequence[str | int]) -> str:
    """Return the name of a field such as messages[0].content."""
    name = ""
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name


def describe(value: Any) -> str:
    """Return what kind of JSON value it is, without its content."""
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer"}
    return "null" if value is None else kinds.get(type(value), "a number")


def _explain_field(name: str, error: Mapping[str, Any]) -> ApiError:
    if error["type"] == "missing":
        message = f"Missing required parameter: '{name}'."
        return ApiError(400, message, param=name, code="missing_required_parameter")
    expected = KINDS.get(error["type"])
    if expected:
        found = describe(error.get("input"))
        message = f"Invalid type for '{name}': expected {expected}, but got {found} instead."
        return ApiError(400, message, param=name, code="invalid_type")
    reason = str(error["msg"]).removeprefix("Value error, ").rstrip(".")
    return ApiError(400, f"Invalid value for '{name}': {reason}.", param=name, code="invalid_value")

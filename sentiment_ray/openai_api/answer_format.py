"""Reads a JSON schema that an answer shall have: one label out of an enum and, if wanted, a number `confidence`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sentiment_ray.openai_api.request_body import invalid_type, invalid_value, missing, quote, unsupported

CONFIDENCE = "confidence"
MAX_CHOICES = 1000
WANTED = (
    f"The schema must be an object with one property that is an enum of labels, and optionally a number '{CONFIDENCE}'."
)
DEFINITIONS = ("#/$defs/", "#/definitions/")


@dataclass(frozen=True)
class AnswerFormat:
    """An answer as a JSON object."""

    fields: tuple[str, ...]
    """Its one or two properties, in the order of the schema."""
    label_field: str
    choices: tuple[str, ...]
    """The labels to choose from, as the schema spells them."""
    param: str
    """The part of the request that has the schema, for messages."""


def read_response_format(value: Mapping[str, Any] | None, param: str) -> AnswerFormat | None:
    """Return the format that `response_format` of a chat asks for; None for plain text."""
    if value is None or value.get("type") == "text":
        return None
    _check_type(value, param)
    inner = value.get("json_schema")
    if inner is None:
        raise missing(f"{param}.json_schema")
    if not isinstance(inner, Mapping):
        raise invalid_type(f"{param}.json_schema", "an object", inner)
    return read_schema(inner, f"{param}.json_schema")


def read_text_format(value: Mapping[str, Any] | None, param: str) -> AnswerFormat | None:
    """Return the format that `text.format` of a response asks for; None for plain text."""
    if value is None or value.get("type") == "text":
        return None
    _check_type(value, param)
    return read_schema(value, param)


def read_schema(value: Mapping[str, Any], param: str) -> AnswerFormat:
    """Return the format of `schema` in a value with `name` and `schema`. ApiError says what the schema must be."""
    if not isinstance(value.get("name"), str):
        raise (
            missing(f"{param}.name")
            if value.get("name") is None
            else invalid_type(f"{param}.name", "a string", value["name"])
        )
    place, schema = f"{param}.schema", value.get("schema")
    if schema is None:
        raise missing(place)
    if not isinstance(schema, Mapping):
        raise invalid_type(place, "an object", schema)
    properties = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(properties, Mapping):
        raise unsupported(place, WANTED)
    label_field: str | None = None
    choices: tuple[str, ...] = ()
    for name, described in properties.items():
        described = _resolve(described, schema)
        found = _read_enum(described)
        if found is not None and label_field is None:
            label_field, choices = name, found
        elif name != CONFIDENCE or not _takes_shares(described):
            raise unsupported(f"{place}.properties.{quote(name)}", WANTED)
    if label_field is None:
        raise unsupported(place, WANTED)
    if not 1 <= len(choices) <= MAX_CHOICES or len(set(choices)) < len(choices):
        raise invalid_value(f"{place}.properties.{quote(label_field)}", f"an enum has 1 to {MAX_CHOICES} labels once.")
    return AnswerFormat(tuple(properties), label_field, choices, param)


def _check_type(value: Mapping[str, Any], param: str) -> None:
    kind = value.get("type")
    if kind is None:
        raise missing(f"{param}.type")
    if kind != "json_schema":
        raise unsupported(f"{param}.type", "Use 'text', or 'json_schema' with an enum of labels.")


def _resolve(described: Any, schema: Mapping[str, Any]) -> Any:
    """Return a property with its reference into the schema's own definitions followed, once."""
    reference = described.get("$ref") if isinstance(described, Mapping) else None
    for prefix in DEFINITIONS:
        if isinstance(reference, str) and reference.startswith(prefix):
            definitions = schema.get(prefix.strip("#/"))
            return definitions.get(reference.removeprefix(prefix)) if isinstance(definitions, Mapping) else None
    return described


def _read_enum(described: Any) -> tuple[str, ...] | None:
    if not isinstance(described, Mapping):
        return None
    values = [described["const"]] if "const" in described else described.get("enum")
    if described.get("type", "string") != "string" or not isinstance(values, list):
        return None
    return tuple(values) if all(isinstance(value, str) for value in values) else None


def _takes_shares(described: Any) -> bool:
    """Whether a property is a number that may be anything from 0 to 1."""
    if not isinstance(described, Mapping) or described.get("type") != "number":
        return False
    low, high = described.get("minimum", 0), described.get("maximum", 1)
    bounds = isinstance(low, int | float) and isinstance(high, int | float) and low <= 0 and high >= 1
    return bounds and not {"exclusiveMinimum", "exclusiveMaximum", "multipleOf", "enum", "const"} & set(described)

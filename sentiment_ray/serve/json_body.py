"""Reads the JSON object in the body of a request, or says why it is none; knows no contract."""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from sentiment_ray.bundle.files import quote
from sentiment_ray.serve.http import Refusal

JSON_TYPE = re.compile(r"application/(?:[\w.-]+\+)?json")
UTF8_NAMES = ("utf-8", "utf8", "us-ascii")
GZIP_MARK = b"\x1f\x8b"

_decode = msgspec.json.decode


def read_json_object(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body. A byte order mark before it is taken; a key must not come twice.

    Refusal: 415 when the headers say that it is not plain JSON, 400 when it is not UTF-8 or not JSON, and 422 when it
    is another JSON value than an object.
    """
    if headers.get("content-type") != "application/json" or "content-encoding" in headers:
        check_headers(headers)
    value = parse_json(body)
    if not isinstance(value, dict):
        raise Refusal(422, f'The body is {describe(value)}, not an object. Send {{"inputs": "a text"}}.')
    return value


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse with 415 a body that is not plain JSON by its headers, whose names are in lower case.

    A web page can make a browser send other types than JSON to a service on the same machine without asking it first.
    """
    check_encoding(headers)
    given = headers.get("content-type", "")
    media_type, _, parameters = given.partition(";")
    if not JSON_TYPE.fullmatch(media_type.strip().lower()):
        found = f"Content-Type is {quote(given)}" if given else "Content-Type is missing"
        raise Refusal(415, f"{found}. Send the header Content-Type: application/json.")
    name, _, charset = parameters.strip().partition("=")
    if name.strip().lower() == "charset" and charset.strip(' "').lower() not in UTF8_NAMES:
        raise Refusal(415, f"Content-Type is {quote(given)}. JSON is UTF-8: send Content-Type: application/json.")


def check_encoding(headers: Mapping[str, str]) -> None:
    """Refuse with 415 a body that is compressed by its headers, whose names are in lower case."""
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        message = f"Content-Encoding is {quote(encoding)}, which is not supported. Send the body uncompressed."
        raise Refusal(415, message, headers={"Accept-Encoding": "identity"})


def parse_json(body: bytes) -> Any:
    """Return the value of a JSON text; Refusal with 400 when it is none, or when an object has a key twice.

    msgspec reads the ordinary body. It does not see that a key comes twice, and refuses some texts that this function
    takes: a byte order mark and half a surrogate pair. All that it does not read without doubt is read again by `json`.
    """
    try:
        value = _decode(body)
        if body.count(b":") == _count_colons(value) and b"\\u003" not in body:
            return value
    except (msgspec.DecodeError, RecursionError):
        pass
    return _parse_strictly(body)


def _count_colons(value: Any) -> int:
    """Return how many colons the JSON text of a value has, if no key comes twice and no colon is written as `\\u003a`.

    A text in which a key comes twice has more: at least the one behind the key that was overwritten.
    """
    if isinstance(value, str):
        return value.count(":")
    if isinstance(value, list):
        return sum(map(_count_colons, value))
    if isinstance(value, dict):
        return len(value) + sum(map(_count_colons, value)) + sum(map(_count_colons, value.values()))
    return 0


def _parse_strictly(body: bytes) -> Any:
    if not body:
        raise Refusal(400, 'The body is empty. Send {"inputs": "a text"}.')
    if body.startswith(GZIP_MARK):
        raise Refusal(400, "The body is compressed with gzip. Send it uncompressed.")
    try:
        text = body.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=_build_object, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise Refusal(
            400, f"The body is not UTF-8: byte {error.start} is 0x{body[error.start]:02x}. Encode it as UTF-8."
        ) from None
    except RecursionError:
        raise Refusal(400, "The body is nested too deeply.") from None
    except json.JSONDecodeError as error:
        where = "it ends too early" if not text[error.pos :].strip() else f"line {error.lineno}, column {error.colno}"
        raise Refusal(400, f"The body is not JSON: {error.msg} ({where}).") from None
    except ValueError as error:  # an integer of thousands of digits
        raise Refusal(400, f"The body is not JSON: {error}.") from None


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise Refusal(400, f"The key {quote(key)} comes twice.")
        values[key] = value
    return values


def _refuse_constant(name: str) -> None:
    raise Refusal(400, f"The body is not JSON: {name} is no number in JSON.")


def describe(value: Any) -> str:
    """Return what kind of JSON value it is, without its content."""
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def read_integer(value: Any) -> int | None:
    """Return an integer of JSON, which 3.0 is too; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value)

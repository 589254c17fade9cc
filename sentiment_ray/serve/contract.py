"""The form of requests, answers and errors: text-embeddings-inference's classification contract; knows no HTTP server.

`{"inputs": …}` takes one string, which gives a flat list of {label, score}, best first; `[["a"], ["b"]]` and
`["a", "b"]` give a list of such lists. A flat list is a batch: sentiment has no text pairs.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.responses import JSONResponse

from sentiment_ray.bundle.files import quote
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.text.blank import is_blank

Answer = list[dict[str, str | float]]

JSON_TYPE = re.compile(r"application/(?:[\w.-]+\+)?json")
UTF8_NAMES = ("utf-8", "utf8", "us-ascii")
GZIP_MARK = b"\x1f\x8b"
MAX_BLANKS_NAMED = 10
KEYS = ("inputs", "raw_scores", "truncate", "truncation_direction")
REQUEST_SCHEMA = {
    "type": "object",
    "required": ["inputs"],
    "additionalProperties": False,
    "properties": {
        "inputs": {
            "description": "One text, texts, or one-element lists of texts.",
            "anyOf": [
                {"type": "string"},
                {"type": "array", "minItems": 1, "items": {"type": "string"}},
                {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "string"}},
                },
            ],
        },
        "raw_scores": {"description": "Return logits.", "type": ["boolean", "null"], "default": False},
        "truncate": {
            "description": "Cut texts as the bundle says; if false, a text that would be cut is answered with 413.",
            "type": ["boolean", "null"],
            "default": True,
        },
        "truncation_direction": {
            "description": "Texts are cut as the bundle says.",
            "enum": ["Right", "right", None],
        },
    },
}
"""The body of POST /predict as a JSON schema."""


@dataclass(frozen=True)
class PredictRequest:
    """What a request to POST /predict asks for."""

    texts: list[str]
    is_single: bool
    """Whether `inputs` was one string, which is answered with a flat list."""
    raw_scores: bool
    """Return logits instead of probabilities."""
    truncate: bool
    """Cut texts as the bundle says. If false, a text that would be cut is answered with 413."""


class Refusal(Exception):
    """A request that is answered with an error of the contract: a status, a message, a type, and headers."""

    def __init__(
        self, status: int, message: str, error_type: str = "Validation", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        content = {"error": message, "error_type": error_type}
        self.response = JSONResponse(content, status_code=status, headers=dict(headers or {}))


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse with 415 a body that is not plain JSON by its headers, whose names are in lower case.

    A web page can make a browser send other types than JSON to a service on the same machine without asking it first.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        message = f"Content-Encoding is {quote(encoding)}, which is not supported. Send the body uncompressed."
        raise Refusal(415, message, headers={"Accept-Encoding": "identity"})
    given = headers.get("content-type", "")
    media_type, _, parameters = given.partition(";")
    if not JSON_TYPE.fullmatch(media_type.strip().lower()):
        found = f"Content-Type is {quote(given)}" if given else "Content-Type is missing"
        raise Refusal(415, f"{found}. Send the header Content-Type: application/json.")
    name, _, charset = parameters.strip().partition("=")
    if name.strip().lower() == "charset" and charset.strip(' "').lower() not in UTF8_NAMES:
        raise Refusal(415, f"Content-Type is {quote(given)}. JSON is UTF-8: send Content-Type: application/json.")


def read_request(body: bytes, *, max_texts: int) -> PredictRequest:
    """Return what a body asks for.

    Refusal: 400 when it is not UTF-8 or not JSON; 422 when it is another request, or a text is missing.
    """
    values = _parse_object(body)
    for key in values:
        if key not in KEYS:
            raise Refusal(422, f"The key {quote(key)} is unknown. Known keys: {', '.join(KEYS)}.")
    direction = values.get("truncation_direction")
    if direction not in ("Right", "right", None):
        raise Refusal(
            422,
            f"truncation_direction is {quote(direction)}, which is not supported: texts are cut as the bundle says. "
            "Leave it out, or send 'Right'.",
        )
    return PredictRequest(
        texts=_read_texts(values.get("inputs"), max_texts=max_texts),
        is_single=isinstance(values.get("inputs"), str),
        raw_scores=_read_flag(values, "raw_scores", default=False),
        truncate=_read_flag(values, "truncate", default=True),
    )


def rank_labels(scores: Scores, labels: tuple[str, ...], *, raw_scores: bool) -> list[Answer]:
    """Return for each text every label with its probability, or its logit, the likeliest label first."""
    values = scores.logits if raw_scores else scores.probabilities
    return [
        [{"label": labels[index], "score": float(row[index])} for index in (-row).argsort(kind="stable")]
        for row in values
    ]


def _parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body. A byte order mark before it is taken; a key must not come twice."""
    if not body:
        raise Refusal(400, 'The body is empty. Send {"inputs": "a text"}.')
    if body.startswith(GZIP_MARK):
        raise Refusal(400, "The body is compressed with gzip. Send it uncompressed.")
    try:
        text = body.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_build_object, parse_constant=_refuse_constant)
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
    if not isinstance(value, dict):
        raise Refusal(422, f'The body is {_describe(value)}, not an object. Send {{"inputs": "a text"}}.')
    return value


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise Refusal(400, f"The key {quote(key)} comes twice.")
        values[key] = value
    return values


def _refuse_constant(name: str) -> None:
    raise Refusal(400, f"The body is not JSON: {name} is no number in JSON.")


def _read_flag(values: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = values.get(key)
    if value is not None and not isinstance(value, bool):
        raise Refusal(422, f"{key} is {_describe(value)}. Send true, false or null.")
    return default if value is None else value


def _read_texts(inputs: Any, *, max_texts: int) -> list[str]:
    """Return the texts of a request; Refusal when there are none, too many, pairs, or anything but texts."""
    if inputs is None:
        raise Refusal(422, "inputs is missing or null. Send one text or a list of texts.")
    items = inputs if isinstance(inputs, list) else [inputs]
    if not items:
        raise Refusal(422, "inputs is empty: send one text or more.", "Empty")
    if len(items) > max_texts:
        raise Refusal(422, f"inputs holds {len(items)} texts; at most {max_texts} may be sent at once.")
    names = [f"inputs[{index}]" for index in range(len(items))] if isinstance(inputs, list) else ["inputs"]
    texts = [_read_text(item, name) for item, name in zip(items, names, strict=True)]
    blank = [name for name, text in zip(names, texts, strict=True) if is_blank(text)]
    if blank:
        more = f" and {len(blank) - MAX_BLANKS_NAMED} more" if len(blank) > MAX_BLANKS_NAMED else ""
        named = ", ".join(blank[:MAX_BLANKS_NAMED]) + more
        raise Refusal(422, f"No text in {named}: only spaces or invisible characters, or nothing.", "Empty")
    return texts


def _read_text(item: Any, name: str) -> str:
    if isinstance(item, list):
        if len(item) != 1:
            raise Refusal(
                422,
                f"{name} is a list of {len(item)}. A list inside inputs holds exactly one text: sentiment has no text "
                "pairs.",
            )
        item, name = item[0], f"{name}[0]"
    if not isinstance(item, str):
        raise Refusal(422, f"{name} is {_describe(item)}, not a text.")
    return item


def _describe(value: Any) -> str:
    """Return what kind of JSON value it is, without its content."""
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")

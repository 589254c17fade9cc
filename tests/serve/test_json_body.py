"""Bodies are read as the strict parser reads them, whichever of the two reads them first."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentiment_ray.serve import json_body
from sentiment_ray.serve.http import Refusal
from sentiment_ray.serve.json_body import parse_json

PIECES = [*'{}[]",: \\u003a0019aeE+-.tfn\n', '"a"', '"a":', "true", "null", "\xff"]
TEXT = st.text(max_size=8) | st.sampled_from(["a:b", ":", "\\", '"', "\0", "\ufeff", "\u2028", "\ud83d"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def _parse(body: bytes, parse: Any) -> Any:
    """Return what a parser returns, or the message of its refusal."""
    try:
        return json.dumps(parse(body))  # compares 1 and 1.0 and True as different
    except Refusal as refusal:
        return refusal.message


@settings(max_examples=400, deadline=None)
@given(VALUES, st.booleans(), st.booleans())
def test_every_json_text_is_read_as_it_was_written(value: Any, as_ascii: bool, with_mark: bool) -> None:
    text = json.dumps(value, ensure_ascii=as_ascii)
    body = text.encode("utf-8", "surrogatepass")
    body = b"\xef\xbb\xbf" + body if with_mark else body
    assert _parse(body, parse_json) == _parse(body, json_body._parse_strictly)


@settings(max_examples=800, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=24))
@example(['{"a": 1, "a": ":"}'])
@example(['{"a": "\\u003a", "a": 1}'])
@example(['{"a": "\\u003A", "a": 1}'])
@example(['[{"a": {"b": 1, "b": "x:y"}}]'])
@example(['{"a:": 1, "a\\u003a": 2}'])
@example(["1e999"])
@example(["9" * 60])
def test_nothing_is_read_that_the_strict_parser_refuses(pieces: list[str]) -> None:
    body = "".join(pieces).encode("latin-1")
    assert _parse(body, parse_json) == _parse(body, json_body._parse_strictly)


@pytest.mark.parametrize("body", [{"inputs": "a: b"}, {"inputs": ["a", ["b"]], "truncate": None}, {"a": "é"}])
def test_the_ordinary_body_is_read_once(body: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "_parse_strictly", lambda body: pytest.fail("read again"))
    for as_ascii in (True, False):
        assert parse_json(json.dumps(body, ensure_ascii=as_ascii).encode()) == body

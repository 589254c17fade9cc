"""The row checks, on small tables."""

from typing import Any

import pyarrow as pa
import pytest

from sentiment_ray.data.label_mapping import map_label
from sentiment_ray.data.readers.rows import SCHEMA
from sentiment_ray.data.source_config import Source
from sentiment_ray.data.validate import check_rows

LABELS = ("negative", "neutral", "positive")


def checked(text: str | None, label: str | None, reason: str | None = None, **label_map: str) -> dict[str, Any]:
    row = {"source": "s", "file": "f", "row": 1, "id": "s:1", "text": text, "label": label, "reason": reason}
    source = Source(path="f", label_map=label_map)
    table = check_rows(pa.Table.from_pylist([row], SCHEMA), source=source, labels=LABELS)
    assert table.schema == SCHEMA
    return table.to_pylist()[0]


@pytest.mark.parametrize(
    ("text", "label", "reason"),
    [
        (None, "positive", "null text"),
        ("", "positive", "empty text"),
        (" \t\u00a0\n", "positive", "empty text"),
        ("fine", None, "null label"),
        ("fine", "", "null label"),
        ("fine", "  ", "null label"),
        ("fine", "5", "label '5' is not in labels"),
        (None, None, "null text"),
        ("", "5", "empty text"),
    ],
)
def test_each_defect_has_a_reason(text: str | None, label: str | None, reason: str) -> None:
    assert checked(text, label)["reason"] == reason


def test_the_reason_of_a_reader_is_kept() -> None:
    assert checked(None, None, "not a JSON object")["reason"] == "not a JSON object"


def test_a_good_row_keeps_its_text_as_it_is() -> None:
    assert checked("  Fine.\n", "positive") | {"reason": None, "text": "  Fine.\n"} == checked("  Fine.\n", "positive")


def test_a_value_outside_the_label_map_is_a_defect_even_if_it_is_a_label() -> None:
    assert checked("fine", "positive", None, good="positive")["reason"] == "label 'positive' is not in label_map"


@pytest.mark.parametrize("review", ["I like it", "Verschlimmbesserungsmaßnahmenkatalog"])
def test_a_label_that_may_be_a_review_is_not_quoted(review: str) -> None:
    assert checked("1", review)["reason"] == "label is not in labels (not quoted: it may be a review)"


def test_no_label_is_quoted_if_many_are_unknown() -> None:
    row = {"source": "s", "file": "f", "row": 1, "id": "s:1", "text": "1", "reason": None}
    for count, quoted in ((20, 20), (21, 0)):
        table = pa.Table.from_pylist([row | {"label": f"Lovely{n}"} for n in range(count)], SCHEMA)
        reasons = check_rows(table, source=Source(path="f"), labels=LABELS)["reason"].to_pylist()
        assert sum("Lovely" in reason for reason in reasons) == quoted


@pytest.mark.parametrize(
    ("value", "label_map", "label"),
    [
        ("positive", {}, "positive"),
        (" Positive\n", {}, "positive"),
        ("NEUTRAL", {}, "neutral"),
        ("pos", {}, None),
        ("2", {"2": "positive"}, "positive"),
        ("2.0", {"2": "positive"}, "positive"),
        ("-1.00", {"-1": "negative"}, "negative"),
        ("2.5", {"2": "positive"}, None),
        (" Bad ", {"bad": "negative"}, "negative"),
        ("worse", {"bad": "negative"}, None),
    ],
)
def test_a_label_is_recognised_in_similar_spellings(value: str, label_map: dict[str, str], label: str | None) -> None:
    assert map_label(value, LABELS, label_map) == label


def test_an_exact_spelling_has_precedence_and_an_ambiguous_one_is_no_label() -> None:
    labels = ("Good", "good")
    assert [map_label(value, labels, {}) for value in ("Good", "good", "GOOD")] == ["Good", "good", None]


def test_an_empty_table_stays_empty() -> None:
    assert len(check_rows(SCHEMA.empty_table(), source=Source(path="f"), labels=LABELS)) == 0

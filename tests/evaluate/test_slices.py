"""Slices count every row, are measured when they have enough rows, and are marked when they are worse."""

import numpy as np
import pytest
from hand_scored import as_scores, random_scored, scored_from

from sentiment_ray.evaluate.slices import ENGLISH_NEGATION, MAX_VALUES, measure_slices


def _slices(num_rows: int = 600, **columns: list[object]) -> dict[str, dict[str, dict[str, object]]]:
    scored = random_scored(num_rows)
    tokens = np.arange(num_rows, dtype=np.int32) % 64 + 1
    texts = ["it is not good" if row % 3 == 0 else "it is good" for row in range(num_rows)]
    slices: dict[str, dict[str, dict[str, object]]] = {}
    for entry in measure_slices(scored, as_scores(scored, tokens), texts, columns, seed=0):
        slices.setdefault(entry["by"], {})[entry["value"]] = entry
    return slices


def test_every_way_of_slicing_counts_every_row() -> None:
    slices = _slices(source=["tweets", "films"] * 300)
    assert list(slices) == ["label", "source", "tokens", "truncated", "negation (English)", "confidence"]
    for entries in slices.values():
        assert sum(entry["rows"] for entry in entries.values()) == 600  # type: ignore[misc]
        assert sum(entry["share"] for entry in entries.values()) == pytest.approx(1)  # type: ignore[misc]
    assert list(slices["tokens"]) == ["1-4", "5-8", "9-16", "17-32", "33-64"]
    assert slices["truncated"]["yes"]["rows"] == 9
    assert slices["negation (English)"]["yes"]["rows"] == 200


def test_a_slice_under_twenty_rows_is_counted_and_not_measured() -> None:
    slices = _slices(source=["rare"] * 19 + ["scarce"] * 20 + ["common"] * 561)["source"]
    assert set(slices["rare"]) == {"by", "value", "rows", "share"}
    assert {"accuracy", "accuracy_interval", "macro_f1", "macro_f1_interval", "below"} < set(slices["scarce"])


def test_a_slice_of_one_label_has_no_macro_f1() -> None:
    slices = _slices()
    assert slices["label"]["neutral"]["macro_f1"] is None
    assert slices["tokens"]["33-64"]["macro_f1"] is not None


def test_a_worse_slice_is_marked() -> None:
    label_ids = np.tile([0, 1, 2], 200)
    logits = np.eye(3)[np.where(np.arange(600) < 100, 1, label_ids)]
    scored = scored_from(logits, label_ids)
    columns = {"source": ["bad"] * 100 + ["good"] * 500}
    entries = measure_slices(scored, as_scores(scored, np.full(600, 5, np.int32)), ["tea"] * 600, columns, seed=0)
    marked = {(entry["by"], entry["value"]) for entry in entries if entry.get("below")}
    assert ("source", "bad") in marked
    assert ("source", "good") not in marked


def test_rare_values_of_a_column_are_one_slice_and_null_is_a_value() -> None:
    values = [None, *(f"value {row % 50}" for row in range(599))]
    slices = _slices(language=values)["language"]
    assert len(slices) == MAX_VALUES + 1
    assert "(31 other values)" in slices
    assert sum(entry["rows"] for entry in slices.values()) == 600  # type: ignore[misc]
    assert "(null)" in _slices(language=[None] * 300 + [1] * 300)["language"]


@pytest.mark.parametrize("text", ["I don't know", "I don’t know", "NOT good", "never again", "without a doubt"])
def test_english_negation_is_found(text: str) -> None:
    assert ENGLISH_NEGATION.search(text)


@pytest.mark.parametrize("text", ["nothingness", "a knot", "notable", "nonesuch", "know"])
def test_words_that_only_look_like_negation_are_not(text: str) -> None:
    assert not ENGLISH_NEGATION.search(text)

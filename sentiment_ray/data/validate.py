"""Checks raw rows and maps their labels; works on Arrow tables and knows no files, splits or Ray."""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sentiment_ray.text.cleaning import clean_and_list_steps

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
MAX_QUOTED_CHARACTERS = 30
MAX_QUOTED_WORDS = 2
MAX_QUOTED_LABELS = 20
"""A reason quotes a label only if it is short and its table has few unknown labels: a wrong column may hold reviews."""


def clean_texts(table: pa.Table, steps: Sequence[str]) -> tuple[pa.Table, NDArray[np.bool_]]:
    """Return the table with cleaned texts, and whether each step changed each text: `(rows, steps)`."""
    changed = np.zeros((len(table), len(steps)), dtype=np.bool_)
    if not steps:
        return table, changed
    texts = table["text"].to_pylist()
    for row, text in enumerate(texts):
        if text is not None:
            texts[row], steps_that_changed = clean_and_list_steps(text, steps)
            changed[row] = [step in steps_that_changed for step in steps]
    return table.set_column(table.column_names.index("text"), "text", pa.array(texts, pa.string())), changed


def check_rows(
    table: pa.Table,
    *,
    labels: Sequence[str],
    label_map: Mapping[str, str],
    cut_points: Sequence[float] = (),
    required: str | None = None,
) -> pa.Table:
    """Return the table with a `reason` for each defective row, and with one of `labels` for every other row.

    `table` has the columns of readers.rows.SCHEMA; a reason that the reader gave is kept. `required` is a column that
    must also have a value: group or time.
    """
    raw = table["label"].combine_chunks().dictionary_encode()
    values = raw.dictionary.to_pylist()
    if cut_points:
        mapped = [map_grade(value, labels, cut_points) for value in values]
        complaint = "is not a finite number"
    else:
        mapped = [map_label(value, labels, label_map) for value in values]
        complaint = f"is not in {'label_map' if label_map else 'labels'}"
    may_quote = mapped.count(None) <= MAX_QUOTED_LABELS
    complaints = [
        None if label else _describe_label(value, complaint, may_quote=may_quote)
        for value, label in zip(values, mapped, strict=True)
    ]
    text = table["text"]
    reason = pc.coalesce(
        table["reason"],
        pc.if_else(pc.is_null(text), "null text", None),
        pc.if_else(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(text)), 0), "empty text", None),
        pc.if_else(pc.is_null(raw), "null label", None),
        pa.array(complaints, pa.string()).take(raw.indices),
        pc.if_else(pc.is_null(table[required]), f"null {required}", None) if required else pa.scalar(None, pa.string()),
    )
    label = pa.array(mapped, pa.string()).take(raw.indices)
    return table.set_column(table.column_names.index("label"), "label", label).set_column(
        table.column_names.index("reason"), "reason", reason
    )


def parse_ratings(labels: pa.ChunkedArray, label_map: Mapping[str, str]) -> pa.Array:
    """Return the raw labels as float64 if there is a label_map; null for each label that is not a finite number."""
    raw = labels.combine_chunks().dictionary_encode()
    ratings = [_parse_number(value) if label_map else None for value in raw.dictionary.to_pylist()]
    return pa.array(ratings, pa.float64()).take(raw.indices)


def map_label(value: str, labels: Sequence[str], label_map: Mapping[str, str]) -> str | None:
    """Return the label that a raw value stands for, by `label_map` if it is not empty; None if there is no such label.

    The exact spelling is tried first, then a spelling in another case, with spaces around it, or of the same number
    (1.0 for 1).
    """
    mapped = _look_up(value, label_map) if label_map else value
    return None if mapped is None else _look_up(mapped, {label: label for label in labels})


def map_grade(value: str, labels: Sequence[str], cut_points: Sequence[float]) -> str | None:
    """Return the label of a numeric grade: the first label below the first cut point; None if it is not a finite
    number."""
    grade = _parse_number(value)
    return None if grade is None else labels[bisect_right(cut_points, grade)]


def _parse_number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _look_up(value: str, known: Mapping[str, str]) -> str | None:
    if value in known:
        return known[value]
    matches = {label for name, label in known.items() if _normalise_label(name) == _normalise_label(value)}
    return matches.pop() if len(matches) == 1 else None


def _normalise_label(value: str) -> str | float:
    """Return the form in which two spellings of one label are equal: the number, or the case-folded text."""
    return float(value) if NUMBER.fullmatch(value.strip()) else value.strip().casefold()


def _describe_label(value: str, complaint: str, *, may_quote: bool) -> str:
    if not value.strip():
        return "null label"
    if may_quote and len(value) <= MAX_QUOTED_CHARACTERS and len(value.split()) <= MAX_QUOTED_WORDS:
        return f"label {value!r} {complaint}"
    return f"label {complaint} (not quoted: it may be a review)"

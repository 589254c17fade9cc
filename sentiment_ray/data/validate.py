"""Checks raw rows and finds their labels; a pure function of an Arrow table that knows no files, splits or Ray."""

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
LONGEST_QUOTE = 30
MOST_WORDS = 2
MOST_QUOTES = 20
"""A reason quotes a label only if it is short and one of few in its table: a wrong column may hold reviews."""


def clean_texts(table: pa.Table, steps: Sequence[str]) -> tuple[pa.Table, NDArray[np.bool_]]:
    """Return the table with clean texts, and whether each step changed each of them: `(rows, steps)`."""
    changed = np.zeros((len(table), len(steps)), dtype=np.bool_)
    if not steps:
        return table, changed
    texts = table["text"].to_pylist()
    for row, text in enumerate(texts):
        if text is not None:
            texts[row], by = clean_and_list_steps(text, steps)
            changed[row] = [step in by for step in steps]
    return table.set_column(table.column_names.index("text"), "text", pa.array(texts, pa.string())), changed


def check_rows(
    table: pa.Table,
    *,
    labels: Sequence[str],
    label_map: Mapping[str, str],
    cut_points: Sequence[float] = (),
    needed: str | None = None,
) -> pa.Table:
    """Return the table with `reason` filled for each defective row and `label` one of `labels` for every other.

    `table` has the columns of reading.SCHEMA; a reason that reading gave stays. `needed` is a column that must have a
    value besides: group or time.
    """
    raw = table["label"].combine_chunks().dictionary_encode()
    values = raw.dictionary.to_pylist()
    if cut_points:
        found = [label_of_grade(value, labels, cut_points) for value in values]
        complaint = "is not a finite number"
    else:
        found = [find_label(value, labels, label_map) for value in values]
        complaint = f"is not in {'label_map' if label_map else 'labels'}"
    may_quote = found.count(None) <= MOST_QUOTES
    complaints = [
        None if label else _complaint(value, complaint, may_quote=may_quote)
        for value, label in zip(values, found, strict=True)
    ]
    text = table["text"]
    reason = pc.coalesce(
        table["reason"],
        pc.if_else(pc.is_null(text), "null text", None),
        pc.if_else(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(text)), 0), "empty text", None),
        pc.if_else(pc.is_null(raw), "null label", None),
        pa.array(complaints, pa.string()).take(raw.indices),
        pc.if_else(pc.is_null(table[needed]), f"null {needed}", None) if needed else pa.scalar(None, pa.string()),
    )
    label = pa.array(found, pa.string()).take(raw.indices)
    return table.set_column(table.column_names.index("label"), "label", label).set_column(
        table.column_names.index("reason"), "reason", reason
    )


def ratings_of(labels: pa.ChunkedArray, label_map: Mapping[str, str]) -> pa.Array:
    """Return the raw labels that are finite numbers as float64; null for others, and for all without a label_map."""
    raw = labels.combine_chunks().dictionary_encode()
    found = [_number(value) if label_map else None for value in raw.dictionary.to_pylist()]
    return pa.array(found, pa.float64()).take(raw.indices)


def find_label(value: str, labels: Sequence[str], label_map: Mapping[str, str]) -> str | None:
    """Return the label that a raw value means, through `label_map` where there is one; None if it means none.

    The exact spelling comes first, then any case, surrounding blanks, and any spelling of a number, as 1.0 for 1.
    """
    mapped = _look_up(value, label_map) if label_map else value
    return None if mapped is None else _look_up(mapped, {label: label for label in labels})


def label_of_grade(value: str, labels: Sequence[str], cut_points: Sequence[float]) -> str | None:
    """Return the label of a numeric grade: below the first cut point the first; None for what is no finite number."""
    grade = _number(value)
    return None if grade is None else labels[bisect_right(cut_points, grade)]


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _look_up(value: str, known: Mapping[str, str]) -> str | None:
    if value in known:
        return known[value]
    matches = {meaning for name, meaning in known.items() if _loose(name) == _loose(value)}
    return matches.pop() if len(matches) == 1 else None


def _loose(value: str) -> str | float:
    """Return what spellings of one label have in common: their number, or their letters in one case."""
    return float(value) if NUMBER.fullmatch(value.strip()) else value.strip().casefold()


def _complaint(value: str, complaint: str, *, may_quote: bool) -> str:
    if not value.strip():
        return "null label"
    if may_quote and len(value) <= LONGEST_QUOTE and len(value.split()) <= MOST_WORDS:
        return f"label {value!r} {complaint}"
    return f"label {complaint} (not quoted: it may be a review)"

"""Checks raw rows and maps their labels; works on Arrow tables and knows no files, splits or Ray."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sentiment_ray.data.label_advice import OTHER_LABELS
from sentiment_ray.data.label_mapping import map_labels, parse_number, parse_rating, select_left_out
from sentiment_ray.data.source_config import Source
from sentiment_ray.text.cleaning import clean_and_list_steps

MAX_QUOTED_CHARACTERS = 30
MAX_QUOTED_WORDS = 2
MAX_QUOTED_LABELS = 20
"""A reason quotes a label only if it is short and its table has few unknown labels: a wrong column may hold reviews."""

MAX_COUNTED_LABELS = 200
"""Number of distinct raw labels that are counted. Grades can have a hundred."""


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


def check_rows(table: pa.Table, *, source: Source, labels: Sequence[str]) -> pa.Table:
    """Return the table with a `reason` for each defective row, and with one of `labels` for every other row.

    `table` has the columns of readers.rows.SCHEMA; a reason that the reader gave is kept. A row that `leave_out` of the
    source names has neither a reason nor a label.
    """
    raw = table["label"].combine_chunks().dictionary_encode()
    values = raw.dictionary.to_pylist()
    mapped = map_labels(values, source, labels)
    left_out = select_left_out(values, source)
    required = source.required_column
    text = table["text"]
    reason = pc.coalesce(
        table["reason"],
        pc.if_else(pc.is_null(text), "null text", None),
        pc.if_else(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(text)), 0), "empty text", None),
        pc.if_else(pc.is_null(raw), "null label", None),
        pa.array(_list_complaints(values, mapped, source), pa.string()).take(raw.indices),
        pc.if_else(pc.is_null(table[required]), f"null {required}", None) if required else pa.scalar(None, pa.string()),
    )
    is_out = pc.fill_null(pa.array([value in left_out for value in values], pa.bool_()).take(raw.indices), False)
    reason = pc.if_else(is_out, pa.scalar(None, pa.string()), reason)
    label = pc.if_else(is_out, pa.scalar(None, pa.string()), pa.array(mapped, pa.string()).take(raw.indices))
    return table.set_column(table.column_names.index("label"), "label", label).set_column(
        table.column_names.index("reason"), "reason", reason
    )


def parse_ratings(labels: pa.ChunkedArray, source: Source) -> pa.Array:
    """Return the raw labels as float64 if the source maps them; null for each label that is not a finite number."""
    raw = labels.combine_chunks().dictionary_encode()
    parse = parse_rating if source.stars else parse_number
    ratings = [parse(value) if source.label_mapping else None for value in raw.dictionary.to_pylist()]
    return pa.array(ratings, pa.float64()).take(raw.indices)


def count_raw_labels(raw: pa.ChunkedArray, source: Source, labels: Sequence[str]) -> Counter[str]:
    """Return the rows of each raw label that a message may show; other values are OTHER_LABELS."""
    counts: Counter[str] = Counter()
    for entry in pc.value_counts(raw.drop_null()).to_pylist():
        value, rows = entry["values"], entry["counts"]
        if value.strip() and may_quote_label(value):
            counts[value] += rows
        elif value.strip() and map_labels([value], source, labels) == [None]:
            counts[OTHER_LABELS] += rows
    return limit_labels(counts)


def limit_labels(counts: Counter[str]) -> Counter[str]:
    """Return the most frequent labels, and the others as OTHER_LABELS."""
    if len(counts) <= MAX_COUNTED_LABELS:
        return counts
    limited = Counter(dict(counts.most_common(MAX_COUNTED_LABELS)))
    limited[OTHER_LABELS] += counts.total() - limited.total()
    return limited


def may_quote_label(value: str) -> bool:
    """Whether a message may show a raw label: a long one may be a review."""
    return len(value) <= MAX_QUOTED_CHARACTERS and len(value.split()) <= MAX_QUOTED_WORDS


def _list_complaints(values: Sequence[str], mapped: Sequence[str | None], source: Source) -> list[str | None]:
    """Return what is wrong with each raw label; None for one that has a label."""
    key = next((name for name in ("label_map", "stars") if getattr(source, name)), "labels")
    complaint = "is not a finite number" if source.cut_points else f"is not in {key}"
    may_quote = mapped.count(None) <= MAX_QUOTED_LABELS
    return [
        None if label else _describe_label(value, complaint, may_quote=may_quote)
        for value, label in zip(values, mapped, strict=True)
    ]


def _describe_label(value: str, complaint: str, *, may_quote: bool) -> str:
    if not value.strip():
        return "null label"
    if may_quote and may_quote_label(value):
        return f"label {value!r} {complaint}"
    return f"label {complaint} (not quoted: it may be a review)"

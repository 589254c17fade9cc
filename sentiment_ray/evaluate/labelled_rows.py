"""Reads labelled reviews and rejects rows without a text or a known label; knows no models and no measures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentiment_ray.column_names import describe_missing_column, resolve_column
from sentiment_ray.data.label_mapping import map_label
from sentiment_ray.errors import DataError
from sentiment_ray.evaluate.config import EvaluateConfig
from sentiment_ray.evaluate.tables import add_path_columns, concatenate, read_table, to_values
from sentiment_ray.input_files.listing import InputFile
from sentiment_ray.labels import label2id
from sentiment_ray.parquet_types import can_hold_labels, can_hold_texts, describe_other_type, explain_nested_texts

DEFAULT_SLICES = ("source", "language")
LONGEST_QUOTE = 30
"""Characters of a label up to which a message quotes it: a wrong column may hold reviews."""


@dataclass(frozen=True)
class LabelledRows:
    """The rows that can be measured: all columns, the texts, and the label ids int64 `(rows,)`.

    `rejected` counts the other rows, as `rows` and by `reasons`, and says where the `first` is.
    """

    table: pa.Table
    texts: list[str]
    label_ids: NDArray[np.int64]
    rejected: dict[str, Any]


@dataclass(frozen=True)
class _Defect:
    row: int
    reason: str
    detail: str


def read_labelled(files: Sequence[InputFile], config: EvaluateConfig, labels: Sequence[str]) -> LabelledRows:
    """Return the rows of Parquet files that have a text and one of `labels`, in order, and count the others.

    DataError when a file cannot be read or lacks a column, or when more rows than `max_rejected` are rejected; the
    message names the first of them by file, row (from 0) and reason.
    """
    ids = label2id(labels)
    tables: dict[str, pa.Table] = {}
    texts, label_ids = [], []
    reasons: Counter[str] = Counter()
    first, first_row, num_rows = "", "", 0
    for file in files:
        table = add_path_columns(read_table(file.path), file.name, [config.label_column, *config.slice_by])
        if not len(table):
            continue
        file_texts, file_labels = (to_values(table[name]) for name in _check_columns(table, file.path, config))
        file_labels = _map_labels(file_labels, labels)
        defects = _find_defects(file_texts, file_labels, ids)
        if defects and not first:
            first_row = f"{file.path}, row {defects[0].row}"
            first = f"{file.path}: row {defects[0].row}: {defects[0].reason}{defects[0].detail}"
        reasons.update(defect.reason for defect in defects)
        num_rows += len(table)
        keep = np.ones(len(table), dtype=np.bool_)
        keep[[defect.row for defect in defects]] = False
        kept = np.flatnonzero(keep)
        tables[file.path] = table.take(kept)
        texts += [file_texts[row] for row in kept]
        label_ids += [ids[file_labels[row]] for row in kept]
    if not num_rows:
        raise DataError(
            f"input = {config.input!r} has no rows, so there is nothing to measure. Name labelled reviews. If this is "
            "the test split of prepared reviews, prepare more reviews, or prepare them with a larger test_share."
        )
    num_rejected = reasons.total()
    if num_rejected > config.max_rejected * num_rows or not texts:
        count = (
            f"{num_rejected:,} of {num_rows:,} rows cannot be used, more than max_rejected = {config.max_rejected:g}"
        )
        raise DataError(
            f"{first}: {count}. The bundle has the labels {', '.join(labels)}; "
            "python -m jobs.prepare_reviews maps other labels to them."
        )
    rejected = {"rows": num_rejected, "reasons": dict(reasons.most_common()), "first": first_row}
    table = concatenate(list(tables.values()), list(tables))
    return LabelledRows(table, texts, np.array(label_ids, dtype=np.int64), rejected)


def select_slice_columns(table: pa.Table, config: EvaluateConfig) -> dict[str, list[Any]]:
    """Return the values of the columns to slice by, by name; DataError when a column is missing."""
    columns = {name: resolve_column(name, table.column_names) for name in config.slice_by or DEFAULT_SLICES}
    missing = [name for name in config.slice_by if columns[name] is None]
    if missing:
        raise DataError(f"{config.input}: {describe_missing_column(missing[0], table.column_names)} Correct slice_by.")
    return {name: to_values(table[column]) for name, column in columns.items() if column is not None}


def _check_columns(table: pa.Table, file: str, config: EvaluateConfig) -> tuple[str, str]:
    """Return the names of the columns with the texts and with the labels; DataError if one is missing or holds others.

    The names may be padded with blanks in the file.
    """
    names = []
    for key in ("text_column", "label_column"):
        wanted, flag = getattr(config, key), f"Pass --{key.replace('_', '-')}."
        name = resolve_column(wanted, table.column_names)
        if name is None:
            nested = explain_nested_texts(table.schema, wanted)
            advice = f"{nested}." if nested else flag
            raise DataError(f"{file}: {describe_missing_column(wanted, table.column_names)} {advice}")
        kind = table.schema.field(name).type
        if key == "text_column" and not can_hold_texts(kind):
            raise DataError(f"{file}: {describe_other_type(table.schema, name, flag, used=(config.label_column,))}.")
        if key == "label_column" and not can_hold_labels(kind):
            raise DataError(f"{file}: the column {name!r} holds {kind}, not texts or numbers. {flag}")
        names.append(name)
    return names[0], names[1]


def _map_labels(values: Sequence[Any], labels: Sequence[str]) -> list[Any]:
    """Return the label that each value spells, in any case and with blanks around it; other values as they are."""
    texts = {value for value in values if isinstance(value, str)}
    spelled = {text: map_label(text, labels, {}) or text for text in texts}
    return [spelled[value] if isinstance(value, str) else value for value in values]


def _find_defects(texts: Sequence[Any], labels: Sequence[Any], ids: dict[str, int]) -> list[_Defect]:
    """Return the rows that cannot be measured, in order, each with its first defect."""
    defects = []
    for row, (text, label) in enumerate(zip(texts, labels, strict=True)):
        reason, detail = _find_text_defect(text), ""
        if not reason and label is None:
            reason = "label is null"
        elif not reason and not (isinstance(label, str) and label in ids):
            reason = "label is not one of the bundle's"
            quote = repr(label)
            detail = f" ({quote})" if len(quote) <= LONGEST_QUOTE else " (not quoted: it may be a review)"
        if reason:
            defects.append(_Defect(row, reason, detail))
    return defects


def _find_text_defect(text: Any) -> str:
    if text is None:
        return "text is null"
    if isinstance(text, bytes):
        return "text is not UTF-8"
    if not isinstance(text, str):
        return "text is not a string"
    return "text is empty" if not text or text.isspace() else ""

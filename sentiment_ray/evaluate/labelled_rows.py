"""Reads labelled reviews and rejects rows without a text or a known label; knows no models and no measures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from sentiment_ray.column_names import describe_missing_column
from sentiment_ray.errors import DataError
from sentiment_ray.evaluate.config import EvaluateConfig
from sentiment_ray.labels import label2id
from sentiment_ray.parquet_types import without_views
from sentiment_ray.storage import open_location

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


def read_labelled(files: Sequence[str], config: EvaluateConfig, labels: Sequence[str]) -> LabelledRows:
    """Return the rows of Parquet files that have a text and one of `labels`, in order, and count the others.

    DataError when a file cannot be read or lacks a column, or when more rows than `max_rejected` are rejected; the
    message names the first of them by file, row (from 0) and reason.
    """
    ids = label2id(labels)
    tables, texts, label_ids = [], [], []
    reasons: Counter[str] = Counter()
    first, first_row, num_rows = "", "", 0
    for file in files:
        table = _read_table(file, config)
        file_texts, file_labels = (_to_values(table[name]) for name in (config.text_column, config.label_column))
        defects = _find_defects(file_texts, file_labels, ids)
        if defects and not first:
            first_row = f"{file}, row {defects[0].row}"
            first = f"{file}: row {defects[0].row}: {defects[0].reason}{defects[0].detail}"
        reasons.update(defect.reason for defect in defects)
        num_rows += len(table)
        keep = np.ones(len(table), dtype=np.bool_)
        keep[[defect.row for defect in defects]] = False
        kept = np.flatnonzero(keep)
        tables.append(table.take(kept))
        texts += [file_texts[row] for row in kept]
        label_ids += [ids[file_labels[row]] for row in kept]
    num_rejected = reasons.total()
    if num_rejected > config.max_rejected * num_rows or not texts:
        count = (
            f"{num_rejected:,} of {num_rows:,} rows cannot be used, more than max_rejected = {config.max_rejected:g}"
        )
        raise DataError(
            f"{first or files[0]}: {count if num_rejected else 'there is no row'}. The bundle has the labels "
            f"{', '.join(labels)}; python -m jobs.prepare_reviews maps other labels to them."
        )
    rejected = {"rows": num_rejected, "reasons": dict(reasons.most_common()), "first": first_row}
    return LabelledRows(_concatenate(tables, files), texts, np.array(label_ids, dtype=np.int64), rejected)


def select_slice_columns(table: pa.Table, config: EvaluateConfig) -> dict[str, list[Any]]:
    """Return the values of the columns to slice by, by name; DataError when a column is missing."""
    missing = [name for name in config.slice_by if name not in table.column_names]
    if missing:
        raise DataError(f"{config.input}: {describe_missing_column(missing[0], table.column_names)} Correct slice_by.")
    names = config.slice_by or [name for name in DEFAULT_SLICES if name in table.column_names]
    return {name: _to_values(table[name]) for name in names}


def _read_table(file: str, config: EvaluateConfig) -> pa.Table:
    try:
        fs, path = open_location(file)
        with fs.open(path, "rb") as handle, parquet.ParquetFile(handle) as opened:
            names = opened.schema_arrow.names
            for name in (config.text_column, config.label_column):
                if name not in names:
                    missing = describe_missing_column(name, names)
                    raise DataError(f"{file}: {missing} Pass --text-column and --label-column.")
                if names.count(name) > 1:
                    raise DataError(f"{file} has {names.count(name)} columns {name!r}. Rename all but one of them.")
            table = opened.read()
            return table.cast(without_views(table.schema))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: not a Parquet file that can be read ({str(error).splitlines()[0]}).") from None


def _concatenate(tables: list[pa.Table], files: Sequence[str]) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            f"{files[0]} and other files have columns of different types ({str(error).splitlines()[0]}). "
            "Name one of the files, or write them with the same types."
        ) from None


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


def _to_values(column: pa.ChunkedArray) -> list[Any]:
    """Return the values of a column; strings and bytes as text where they are UTF-8, as bytes otherwise."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        values = column.cast(pa.large_binary()).to_pylist()
    return [_decode(value) if isinstance(value, bytes) else value for value in values]


def _decode(value: bytes) -> str | bytes:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value

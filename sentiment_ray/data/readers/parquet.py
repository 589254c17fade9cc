"""Reads rows out of Parquet files, one row group at a time; knows Arrow's types, not labels."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sentiment_ray.data.config import Source
from sentiment_ray.data.readers.units import Row, Unit
from sentiment_ray.errors import DataError
from sentiment_ray.parquet_types import UNREADABLE, holds_texts

BATCH_ROWS = 10_000
BATCH_BYTES = 32 << 20
MOST_EXPANSION = 100
"""How many times larger than its file the rows of a file are taken to be at most, whatever its footer says."""
NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)


def read_row_group(unit: Unit, source: Source) -> Iterator[Row]:
    """Yield the rows of one row group; DataError naming file and row group when its pages cannot be read."""
    try:
        with pq.ParquetFile(unit.path, page_checksum_verification=True) as file:
            group = file.metadata.row_group(unit.row_group)
            # A row group of few, huge rows is read in smaller steps.
            fitting = BATCH_BYTES * group.num_rows // max(1, unit.size_bytes)
            batches = file.iter_batches(
                batch_size=max(1, min(BATCH_ROWS, fitting)),
                row_groups=[unit.row_group],
                columns=[name for name in source.columns if name in file.schema_arrow.names],
                use_threads=False,
            )
            number = unit.first_row
            for batch in batches:
                ids, keys = (_optional(batch, name, unit) for name in (source.id_column, source.key_column))
                texts = zip(*(_column(batch, name, unit) for name in source.text_column), strict=True)
                labels = _column(batch, source.label_column, unit)
                yield from map(Row, range(number, number + len(batch)), ids, texts, labels, keys)
                number += len(batch)
            if number != unit.first_row + group.num_rows:
                raise ValueError(f"{number - unit.first_row} rows where its footer promises {group.num_rows}")
    except UNREADABLE as error:
        raise DataError(
            f"{unit.path}: row group {unit.row_group} cannot be read ({_first_line(error)}). "
            "Restore the file, or leave it out."
        ) from error


def schema_of_parquet(path: Path) -> pa.Schema:
    """Return the names and types of the top columns; DataError when the footer cannot be read."""
    try:
        return _footer(path).schema.to_arrow_schema()
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def row_groups(path: Path) -> list[tuple[int, int, int]]:
    """Return number, first row and uncompressed bytes of each row group with rows; DataError where they do not add up.

    Of a row group only its own sums are asked for: what a damaged one says of its columns can abort the process.
    """
    footer, most_bytes = _footer(path), MOST_EXPANSION * path.stat().st_size
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    rows = [group.num_rows for group in groups]
    if min(rows, default=0) < 0 or sum(rows) != footer.num_rows:
        raise _unreadable(path, ValueError(f"it promises {footer.num_rows} rows and its row groups {sum(rows)}"))
    starts = accumulate(rows, initial=0)
    return [
        (number, start, min(max(0, group.total_byte_size), most_bytes))
        for number, (group, start) in enumerate(zip(groups, starts, strict=False))
        if group.num_rows
    ]


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold reviews; one of nulls can, each row of it being a defect."""
    kind = _plain(kind)
    return pa.types.is_null(kind) or holds_texts(kind)


def is_label(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold labels: texts or numbers."""
    kind = _plain(kind)
    return pa.types.is_decimal(kind) or holds_texts(kind) or any(is_kind(kind) for is_kind in NUMBERS)


def _footer(path: Path) -> Any:
    try:
        return pq.read_metadata(path)
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is not a Parquet file that can be read ({_first_line(error)}). Restore the file, or leave it out."
    )


def _column(batch: pa.RecordBatch, name: str, unit: Unit) -> list[Any]:
    """Return the values of a column of the file or, where it has none of this name, of its path."""
    return _values(batch[name]) if name in batch.schema.names else [unit.partition.get(name)] * len(batch)


def _optional(batch: pa.RecordBatch, name: str | None, unit: Unit) -> list[Any]:
    return _column(batch, name, unit) if name else [None] * len(batch)


def _values(column: pa.Array) -> list[Any]:
    """Return a column's values: decimals and moments as texts, what is not UTF-8 with lone surrogates.

    As float64 two decimals of twenty digits may be one, and the float32 3.7 would be 3.700000047683716.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_decimal(column.type):
        return [None if value is None else _spelt(value) for value in column.to_pylist()]
    if pa.types.is_floating(column.type) and column.type.bit_width < 64:
        short = np.float16 if column.type.bit_width == 16 else np.float32
        return [None if value is None else float(str(short(value))) for value in column.to_pylist()]
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.string())
    if not holds_texts(column.type):
        return list(column.to_pylist())
    try:
        return list(column.cast(pa.large_string()).to_pylist())
    except (pa.ArrowInvalid, UnicodeDecodeError):
        raw = column.cast(pa.large_binary()).to_pylist()
        return [None if value is None else value.decode(errors="surrogateescape") for value in raw]


def _spelt(value: Decimal) -> str:
    return format(value.to_integral_value() if value == value.to_integral_value() else value, "f")


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]

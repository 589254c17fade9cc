"""Reads rows from Parquet files, one row group at a time; knows Arrow types, not labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sentiment_ray.column_names import resolve_column
from sentiment_ray.data.copied_columns import make_text_array
from sentiment_ray.data.readers.faults import refuse_fault
from sentiment_ray.data.readers.read_task import CopiedRow, ReadTask, Row
from sentiment_ray.data.source_config import Source
from sentiment_ray.errors import DataError
from sentiment_ray.input_files.content import suggest_format
from sentiment_ray.parquet_types import (
    UNREADABLE,
    cast_column,
    describe_damage,
    get_value_type,
    holds_strings,
    read_texts,
)

MAX_BATCH_ROWS = 10_000
MAX_BATCH_BYTES = 32 << 20
MAX_START_BYTES = 4096
MAX_EXPANSION = 100
"""Upper limit for the size of a file's rows, in file sizes; a footer may claim more."""


@dataclass(frozen=True)
class RowGroup:
    """A row group that has rows."""

    index: int
    first_row: int
    """Index of its first row in the file."""
    size_bytes: int
    """Uncompressed size."""


@dataclass(frozen=True)
class Footer:
    """The top-level columns of a Parquet file, and its row groups."""

    schema: pa.Schema
    row_groups: list[RowGroup]


def read_row_group(task: ReadTask, source: Source) -> Iterator[Row]:
    """Yield the rows of one row group; DataError with the file and the row group if its pages are damaged.

    PassingFault if this machine cannot read them now.
    """
    try:
        with pq.ParquetFile(task.path, page_checksum_verification=True) as file:
            group = file.metadata.row_group(task.row_group)
            # A row group with large rows is read in smaller batches.
            fitting_rows = MAX_BATCH_BYTES * group.num_rows // max(1, task.size_bytes)
            batches = file.iter_batches(
                batch_size=max(1, min(MAX_BATCH_ROWS, fitting_rows)),
                row_groups=[task.row_group],
                columns=_list_file_columns(file.schema_arrow.names, [*source.columns, *task.copied.names], task),
                use_threads=False,
            )
            number = task.first_row
            for batch in batches:
                ids, split_values = (
                    _read_optional_column(batch, name, task) for name in (source.id_column, source.split_column)
                )
                texts = zip(*(_read_column(batch, name, task) for name in source.text_column), strict=True)
                labels = _read_column(batch, source.label_column, task)
                copied = _copy_rows(batch, task)
                numbers = range(number, number + len(batch))
                yield from map(Row, numbers, ids, texts, labels, split_values, repeat(None), copied)
                number += len(batch)
            if number != task.first_row + group.num_rows:
                raise ValueError(f"{number - task.first_row} rows where the footer promises {group.num_rows}")
    except UNREADABLE as error:
        refuse_fault(error, task.path)
        raise DataError(
            f"{task.path}: row group {task.row_group} cannot be read ({describe_damage(error)}). "
            "Restore the file, or leave it out."
        ) from error


def _suggest_format(path: Path) -> str | None:
    with path.open("rb") as file:
        start = file.read(MAX_START_BYTES)
    return None if start.startswith(b"PAR1") else suggest_format(start)


def read_footer(path: Path) -> Footer:
    """Return what the footer of a Parquet file says; DataError if it is damaged or its row counts do not add up.

    PassingFault if this machine cannot read it now.
    Only the totals of a row group are read: PyArrow can abort on the column metadata of a damaged file.
    """
    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        num_rows = [group.num_rows for group in groups]
        if min(num_rows, default=0) < 0 or sum(num_rows) != metadata.num_rows:
            raise ValueError(f"the footer promises {metadata.num_rows} rows, its row groups {sum(num_rows)}")
    except UNREADABLE as error:
        refuse_fault(error, path)
        remedy = _suggest_format(path) or "Restore the file, or leave it out"
        raise DataError(f"{path} is not a readable Parquet file ({describe_damage(error)}). {remedy}.") from error
    max_bytes, first_rows = MAX_EXPANSION * path.stat().st_size, accumulate(num_rows, initial=0)
    row_groups = [
        RowGroup(index, first_row, min(max(0, group.total_byte_size), max_bytes))
        for index, (group, first_row) in enumerate(zip(groups, first_rows, strict=False))
        if group.num_rows
    ]
    return Footer(schema, row_groups)


def _list_file_columns(names: list[str], wanted: list[str], task: ReadTask) -> list[str]:
    """Return the columns of the file, out of all its `names`, that are wanted."""
    columns = (resolve_column(name, [*names, *task.path_columns]) for name in wanted)
    return [column for column in dict.fromkeys(columns) if column in names]


def _read_column(batch: pa.RecordBatch, name: str, task: ReadTask) -> list[Any]:
    """Return the values of a column of the file or, if the file has no such column, of its path."""
    names = batch.schema.names
    column = resolve_column(name, [*names, *task.path_columns]) or name
    return _to_python(batch[column]) if column in names else [task.path_columns.get(column)] * len(batch)


def _read_optional_column(batch: pa.RecordBatch, name: str | None, task: ReadTask) -> list[Any]:
    return _read_column(batch, name, task) if name else [None] * len(batch)


def _copy_rows(batch: pa.RecordBatch, task: ReadTask) -> Iterator[tuple[()] | CopiedRow]:
    """Yield the values of each row in the columns to copy, in the types that they get in the splits."""
    if not task.copied.num_fields:
        return repeat(())
    columns = [_copy_column(batch, field, task) for field in task.copied]
    values = pa.StructArray.from_arrays(columns, fields=list(task.copied))
    return map(CopiedRow, repeat(values), range(len(batch)), repeat(values.nbytes // len(batch)))


def _copy_column(batch: pa.RecordBatch, field: pa.Field, task: ReadTask) -> pa.Array:
    names = batch.schema.names
    column = resolve_column(field.name, [*names, *task.path_columns])
    if column not in names:
        value = task.path_columns.get(column) if column else None
        return pa.repeat(pa.scalar(value, field.type), len(batch))
    kind = batch[column].type
    if pa.types.is_string(field.type) and not pa.types.is_string(get_value_type(kind)):
        return make_text_array(_to_python(batch[column]))
    return cast_column(batch[column], field.type)


def _to_python(column: pa.Array) -> list[Any]:
    """Return the values of a column: decimals, times and ids of a fixed size as texts.

    Decimals are not turned into float64, which cannot tell all numbers of twenty digits apart. A float32 is read as the
    short number that a person wrote: 3.7, not 3.700000047683716. A byte that is not UTF-8 becomes a lone surrogate.
    """
    kind = get_value_type(column.type)
    if holds_strings(kind):
        return [_keep_wrong_bytes(value) for value in read_texts(column)]
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_decimal(kind):
        return [None if value is None else _decimal_to_text(value) for value in column.to_pylist()]
    if pa.types.is_floating(kind) and kind.bit_width < 64:
        float_type = np.float16 if kind.bit_width == 16 else np.float32
        return [None if value is None else float(str(float_type(value))) for value in column.to_pylist()]
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        column = column.cast(pa.string())
    if pa.types.is_fixed_size_binary(kind):
        return [value.hex() if isinstance(value, bytes) else _to_text(value) for value in column.to_pylist()]
    return list(column.to_pylist())


def _to_text(value: Any) -> str | None:
    return None if value is None else str(value)


def _keep_wrong_bytes(value: str | bytes | None) -> str | None:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else value


def _decimal_to_text(value: Decimal) -> str:
    return format(value.to_integral_value() if value == value.to_integral_value() else value, "f")

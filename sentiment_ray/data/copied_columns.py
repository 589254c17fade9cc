"""Columns that [prepare] copies from the sources into the splits: which there are, their types, and their values.

A table of rows has them as the fields of one struct column, so that their names meet no other. Knows no files.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sentiment_ray import log
from sentiment_ray.column_names import describe_missing_column
from sentiment_ray.data.readers.read_task import CopiedRow
from sentiment_ray.data.source_file import SourceFile
from sentiment_ray.errors import DataError
from sentiment_ray.manifest import format_json
from sentiment_ray.parquet_types import find_common_type, without_dictionaries

COLUMN = "columns"
"""Name of the struct column."""
FoundTypes = Mapping[str, pa.DataType | None]
"""The columns to copy that a file has, with their types; None for a text, as in CSV or in the name of a directory."""


def choose_copied_columns(
    names: Sequence[str], found: Sequence[tuple[SourceFile, FoundTypes]], known_names: Collection[str]
) -> pa.StructType:
    """Return the columns to copy as a struct, each with one type for all files.

    Where all files that have a column are Parquet files with types that one type can hold, that is the type. Otherwise
    it is a string. DataError if no file has a column; a warning if some files lack it, whose rows get null.
    `found` has the files with rows, `known_names` the names of all their columns.
    """
    fields = []
    for name in names:
        kinds = [types[name] for _, types in found if name in types]
        if not kinds:
            raise DataError(f"columns: {describe_missing_column(name, known_names)} No file of the sources has it.")
        lacking = [file for file, types in found if name not in types]
        if lacking:
            log.notify(
                f"the column {name!r} is missing from {len(lacking)} of {len(found)} files, such as {lacking[0].path}. "
                "Their rows get null there.",
                level=logging.WARNING,
            )
        fields.append(pa.field(name, _choose_type(kinds)))
    return pa.struct(fields)


def append_struct(
    table: pa.Table, rows: Sequence[tuple[Any, ...]] | Sequence[CopiedRow], struct: pa.StructType
) -> pa.Table:
    """Return a table with the values of its rows, as their reader gave them, appended as one struct column."""
    slices = [row for row in rows if isinstance(row, CopiedRow)]
    column = _concatenate_slices(slices) if slices else _make_struct_of_texts(rows, struct)
    return table.append_column(COLUMN, column)


def make_text_array(values: Iterable[Any]) -> pa.Array:
    """Return values as strings: null for None, JSON for what is no text. What is not UTF-8 becomes question marks."""
    return pa.array([None if value is None else _to_text(value) for value in values], pa.string())


def count_characters(row: tuple[Any, ...] | CopiedRow) -> int:
    """Return about how many characters the values of a row have."""
    return row.row_bytes if isinstance(row, CopiedRow) else sum(len(str(value)) for value in row)


def append_columns(table: pa.Table, struct: pa.ChunkedArray) -> pa.Table:
    """Return a table with each field of a struct column appended as a column."""
    for index, field in enumerate(struct.type):
        table = table.append_column(field, pc.struct_field(struct, index))
    return table


def _make_struct_of_texts(rows: Sequence[Any], struct: pa.StructType) -> pa.StructArray:
    """Return the values of rows of a text file, all of them strings; nulls for a row without values."""
    nothing = (None,) * struct.num_fields
    columns = zip(*(row or nothing for row in rows), strict=True)
    return pa.StructArray.from_arrays([make_text_array(column) for column in columns], fields=list(struct))


def _concatenate_slices(rows: Sequence[CopiedRow]) -> pa.StructArray:
    """Return the values of neighbouring rows of a Parquet file, without going through them one by one."""
    starts = [index for index, row in enumerate(rows) if not index or row.values is not rows[index - 1].values]
    ends = [*starts[1:], len(rows)]
    return pa.concat_arrays(
        [rows[start].values.slice(rows[start].position, end - start) for start, end in zip(starts, ends, strict=True)]
    )


def _to_text(value: Any) -> str:
    text = value if isinstance(value, str) else format_json(value, ensure_ascii=False, default=str)
    return text.encode("utf-8", "replace").decode()


def _choose_type(kinds: Sequence[pa.DataType | None]) -> pa.DataType:
    """Return the common type of Parquet columns, without dictionaries and views; a string where one is a text."""
    plain = [kind and without_dictionaries(kind) for kind in kinds]
    common = None if None in plain else find_common_type(plain)
    return pa.string() if common is None or pa.types.is_null(common) else common

"""Reads Parquet files as tables and puts them together; knows no labels and no measures."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.errors import DataError
from sentiment_ray.input_files.names import parse_hive_columns
from sentiment_ray.parquet_types import (
    UNREADABLE,
    can_cast,
    cast_column,
    choose_type,
    describe_damage,
    get_value_type,
    holds_strings,
    read_texts,
    without_views,
)
from sentiment_ray.retrying import PassingFault, retry_passing
from sentiment_ray.store_location import open_location
from sentiment_ray.watched_file import WatchedFile, open_watched


def read_table(file: str) -> pa.Table:
    """Read a file with plain strings instead of string views; DataError when it is damaged, or has a name twice.

    StorageError when it cannot be read now.
    """
    return retry_passing(partial(_read_once, file), file, remedy="Run the same command again when it is mended.")


def _read_once(file: str) -> pa.Table:
    fs, path = open_location(file)
    try:
        with open_watched(fs, path) as handle:
            try:
                return _parse(handle, file)
            except UNREADABLE as error:
                handle.refuse_fault(error)
                raise DataError(
                    f"{file}: not a Parquet file that can be read ({describe_damage(error)}). Restore it, or leave it "
                    "out."
                ) from None
    except FileNotFoundError:
        raise PassingFault("it is listed and is not there any more") from None


def _parse(handle: WatchedFile, file: str) -> pa.Table:
    with parquet.ParquetFile(handle) as opened:
        name, times = Counter(opened.schema_arrow.names).most_common(1)[0] if opened.schema_arrow.names else ("", 0)
        if times > 1:
            raise DataError(f"{file} has {times} columns {name!r}. Rename all but one of them.")
        table = opened.read()
        fields = [field.with_type(without_views(field.type)) for field in table.schema]
        return table.cast(pa.schema(fields, table.schema.metadata))


def add_path_columns(table: pa.Table, inner: str, names: Sequence[str]) -> pa.Table:
    """Return a table with those of `names` as columns that the path of its file below the input gives (year=2024/)."""
    for name, value in parse_hive_columns(inner.split("/")[:-1]).items():
        if name in names and name not in table.column_names:
            table = table.append_column(name, pa.repeat(pa.scalar(value, pa.string()), len(table)))
    return table


def concatenate(tables: Sequence[pa.Table], files: Sequence[str]) -> pa.Table:
    """Return the rows of all tables, with null for a column that a table lacks.

    Where the types of a column differ, it gets the type of most rows or a wider one. DataError names the first file
    whose column has no such type.
    """
    if len({table.schema for table in tables}) == 1:
        return pa.concat_tables(tables)
    num_rows: dict[str, Counter[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            num_rows.setdefault(field.name, Counter())[field.type] += len(table)
    schema = pa.schema([(name, choose_type(counts)) for name, counts in num_rows.items()])
    return pa.concat_tables([_cast(table, schema, file) for table, file in zip(tables, files, strict=True)])


def to_values(column: pa.ChunkedArray) -> list[Any]:
    """Return the values of a column; strings and bytes as text where they are UTF-8, as bytes otherwise."""
    if holds_strings(get_value_type(column.type)):
        return list(read_texts(column))
    return list((column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column).to_pylist())


def _cast(table: pa.Table, schema: pa.Schema, file: str) -> pa.Table:
    columns = []
    for field in schema:
        column = table[field.name] if field.name in table.column_names else pa.nulls(len(table))
        try:
            if not can_cast(column.type, field.type):
                raise pa.ArrowInvalid("no type holds both")
            columns.append(cast_column(column, field.type))
        except pa.ArrowException as error:
            raise DataError(
                f"{file}: the column {field.name!r} is {column.type} here and {field.type} in most files ({error}). "
                "Write it with one type, or name files with the same types."
            ) from None
    return pa.table(columns, schema=schema)

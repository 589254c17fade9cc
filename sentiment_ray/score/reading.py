"""Opens the file of a unit and reads its rows in chunks; knows no model."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.errors import DataError
from sentiment_ray.parquet_types import UNREADABLE, describe_damage, holds_strings, without_views
from sentiment_ray.score.chunks import CHUNK_BYTES, RowChunk, count_row_bytes, cut_batch, make_unreadable_chunk
from sentiment_ray.score.plan import Unit
from sentiment_ray.storage import file_info, is_local, open_location

CHUNK_ROWS = 16_384
"""Rows in memory at a time: enough to fill batches with texts of one length, few enough for rows of any size."""
FEW_ROWS = 16
"""Rows in memory at a time where strings cannot be read as dictionaries and each may be huge."""


@dataclass(frozen=True)
class UnitFile:
    """The open file of a unit: `plain` reads columns as they are, `as_dictionaries` reads strings as dictionaries.

    `schema` has plain strings instead of string views.
    """

    plain: parquet.ParquetFile
    as_dictionaries: parquet.ParquetFile
    schema: pa.Schema
    is_local: bool


@contextmanager
def open_parquet(unit: Unit) -> Iterator[UnitFile]:
    """Open the file of a unit; DataError when it has changed since the plan was made."""
    check_version(unit)
    fs, path = open_location(unit.path)
    with (
        fs.open(path, "rb", cache_type="readahead") as handle,
        parquet.ParquetFile(handle, page_checksum_verification=True) as plain,
    ):
        fields = [field.with_type(without_views(field.type)) for field in plain.schema_arrow]
        schema = pa.schema(fields, plain.schema_arrow.metadata)
        strings = [field.name for field in schema if holds_strings(field.type)]
        try:
            as_dictionaries = parquet.ParquetFile(
                handle, metadata=plain.metadata, read_dictionary=strings, page_checksum_verification=True
            )
        except UNREADABLE:
            as_dictionaries = plain
        yield UnitFile(plain, as_dictionaries, schema, is_local(fs))
    check_version(unit)


def check_version(unit: Unit) -> None:
    """Raise DataError when the file of a unit has changed since the plan was made; it may change while it is read."""
    fs, path = open_location(unit.path)
    try:
        fs.invalidate_cache()
        version = file_info(fs.info(path)).version
    except FileNotFoundError:
        version = "missing"
    if version != unit.version:
        raise DataError(f"{unit.path} has changed since the plan was made. Restore it, or pass --restart.")


def read_chunks(
    file: UnitFile,
    schema: pa.Schema,
    unit: Unit,
    *,
    max_row_bytes: int,
    skip_row_groups: Collection[int] = (),
    accept_unreadable: bool = True,
) -> Iterator[RowChunk]:
    """Yield the rows of a unit in order, with the columns and types of `schema`.

    The strings of a row that has more than `max_row_bytes` of them are not decoded. A row group that cannot be read as
    a whole, or is in `skip_row_groups`, becomes one chunk with a reason. Unless `accept_unreadable`, a row group that
    cannot be read raises OSError instead, because on an object store the network may be at fault.
    """
    row = unit.first_row
    for index, num_rows in zip(unit.row_groups, unit.group_rows, strict=True):
        if index in skip_row_groups:
            yield make_unreadable_chunk(row, num_rows, "reading this row group crashes the process")
        else:
            batches = check_row_group(file, schema, index, num_rows)
            if isinstance(batches, str):
                check_version(unit)
                if not accept_unreadable or _is_unreachable(file, unit):
                    raise OSError(f"{unit.path}: {batches}")
                yield make_unreadable_chunk(row, num_rows, batches)
            else:
                start = row
                for batch in batches:
                    yield from cut_batch(batch, schema, start, max_row_bytes)
                    start += len(batch)
        row += num_rows


def check_row_group(file: UnitFile, schema: pa.Schema, index: int, num_rows: int) -> Iterator[pa.RecordBatch] | str:
    """Read a row group once and keep nothing; return its batches, to be read again, or why it is unreadable.

    A row group counts only as a whole: where a page is missing, PyArrow moves the rows of that column up, and only the
    number of rows at the end shows it. Strings are read as dictionaries, because a small file can hold one long text a
    million times. Where that is impossible, a few rows are read at a time. A row group whose strings turn out to have
    a usual size is then read plainly.
    """
    reason = ""
    for reader, batch_rows in ((file.as_dictionaries, CHUNK_ROWS), (file.plain, FEW_ROWS)):
        options: dict[str, Any] = {"row_groups": [index], "columns": schema.names, "use_threads": False}
        rows, most_bytes, chunk_bytes = 0, 0, 0
        try:
            for batch in reader.iter_batches(batch_rows, **options):
                chunk_bytes = int(count_row_bytes(batch).sum()) + (chunk_bytes if rows % CHUNK_ROWS else 0)
                most_bytes = max(most_bytes, chunk_bytes)
                rows += len(batch)
        except UNREADABLE as error:
            reason = f"this row group cannot be read ({describe_damage(error)})"
            if "DictAccumulator" in str(error):
                continue
            return reason
        if rows != num_rows:
            return f"this row group has other rows than its footer promises ({rows}, not {num_rows})"
        if most_bytes <= CHUNK_BYTES:
            return iter(file.plain.iter_batches(CHUNK_ROWS, **options))
        return iter(reader.iter_batches(batch_rows, **options))
    return reason


def _is_unreachable(file: UnitFile, unit: Unit) -> bool:
    """Whether not even the bytes of a file on an object store can be read, so that its rows may be fine."""
    if file.is_local:
        return False
    fs, path = open_location(unit.path)
    try:
        fs.cat_file(path, start=0, end=4)
    except OSError:
        return True
    return False

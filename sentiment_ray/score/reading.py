"""Opens the file of a unit and reads its rows in chunks; knows no model."""

import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.errors import DataError, SentimentRayError
from sentiment_ray.parquet_types import UNREADABLE, describe_damage, holds_strings, without_views
from sentiment_ray.retrying import PassingFault
from sentiment_ray.score.chunks import CHUNK_BYTES, RowChunk, count_row_bytes, cut_batch, make_unreadable_chunk
from sentiment_ray.score.plan import Unit
from sentiment_ray.score.watched_file import WatchedFile, open_watched
from sentiment_ray.storage import file_info, open_location

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
    handle: WatchedFile


@contextmanager
def open_parquet(unit: Unit) -> Iterator[UnitFile]:
    """Open the file of a unit; DataError when it has changed since the plan was made."""
    check_version(unit)
    fs, path = open_location(unit.path)
    with (
        open_watched(fs, path) as handle,
        parquet.ParquetFile(handle, page_checksum_verification=True) as plain,
    ):
        fields = [field.with_type(without_views(field.type)) for field in plain.schema_arrow]
        schema = pa.schema(fields, plain.schema_arrow.metadata)
        strings = [field.name for field in schema if holds_strings(field.type)]
        try:
            as_dictionaries = parquet.ParquetFile(
                handle, metadata=plain.metadata, read_dictionary=strings, page_checksum_verification=True
            )
        except UNREADABLE as error:
            handle.refuse_fault(error)
            as_dictionaries = plain
        try:
            yield UnitFile(plain, as_dictionaries, schema, handle)
        except SentimentRayError:
            raise
        except Exception:
            check_version(unit)  # a file that is written while it is read looks damaged
            raise
    check_version(unit)


def check_version(unit: Unit) -> None:
    """Raise DataError when the file of a unit has changed since the plan was made; it may change while it is read.

    PassingFault when the file is not there: this node may lack what other nodes have mounted.
    """
    fs, path = open_location(unit.path)
    try:
        fs.invalidate_cache()
        info = file_info(fs.info(path))
    except FileNotFoundError:
        raise PassingFault(
            f"{unit.path} is not there for {socket.gethostname()}. Mount its directory on every node, or restore it"
        ) from None
    if info.version != unit.version or unit.file_bytes not in (None, info.bytes):
        raise DataError(f"{unit.path} has changed since the plan was made. Restore it, or pass --restart.")


def read_chunks(
    file: UnitFile,
    schema: pa.Schema,
    unit: Unit,
    *,
    max_row_bytes: int,
    skip_row_groups: Collection[int] = (),
) -> Iterator[RowChunk]:
    """Yield the rows of a unit in order, with the columns and types of `schema`.

    The strings of a row that has more than `max_row_bytes` of them are not decoded. A row group that is damaged as a
    whole, or is in `skip_row_groups`, becomes one chunk with a reason. A fault that may pass is raised instead.
    """
    row = unit.first_row
    for index, num_rows in zip(unit.row_groups, unit.group_rows, strict=True):
        if index in skip_row_groups:
            yield make_unreadable_chunk(row, num_rows, "reading this row group crashes the process")
        else:
            batches = check_row_group(file, schema, index, num_rows)
            if isinstance(batches, str):
                check_version(unit)
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
    number of rows at the end shows it. Only damage makes it unreadable; a fault that may pass is raised. Strings are
    read as dictionaries, because a small file can hold one long text a million times. Where that is impossible, a few
    rows are read at a time. A row group whose strings turn out to have a usual size is then read plainly.
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
            file.handle.refuse_fault(error)
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

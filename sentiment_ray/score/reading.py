"""Opens the file of a unit and reads its rows in chunks; knows no model."""

import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.errors import DataError, SentimentRayError
from sentiment_ray.file_versions import make_file_info
from sentiment_ray.parquet_types import UNREADABLE, describe_damage, without_views
from sentiment_ray.retrying import PassingFault
from sentiment_ray.score.chunks import CHUNK_BYTES, RowChunk, count_row_bytes, cut_batch, make_unreadable_chunk
from sentiment_ray.score.plan import Unit
from sentiment_ray.store_faults import watch_faults
from sentiment_ray.store_location import open_location
from sentiment_ray.watched_file import WatchedFile, open_watched

CHUNK_ROWS = 16_384
"""Rows in memory at a time: enough to fill batches with texts of one length, few enough for rows of any size."""
KEPT_BYTES = 16 << 20
"""Most bytes of a row group that is kept in memory while it is read as a whole, instead of being read twice."""
FEW_ROWS = 16
"""Rows in memory at a time where strings cannot be read as dictionaries and each may be huge."""


@dataclass(frozen=True)
class UnitFile:
    """The open file of a unit: `plain` reads columns as they are, `as_dictionaries` reads strings as dictionaries.

    Strings in lists and structs count, too. `schema` has plain strings instead of string views.
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
        strings = _list_string_paths(plain)
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
        with watch_faults(fs):
            fs.invalidate_cache()
            info = make_file_info(fs.info(path))
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


def select_row_groups(unit: Unit, start: int, end: int) -> Unit:
    """Return a unit of only the row groups that hold some of the rows `start` to `end`, counted from the first."""
    ends = list(accumulate(unit.group_rows))
    starts = [after - num_rows for after, num_rows in zip(ends, unit.group_rows, strict=True)]
    chosen = [number for number, after in enumerate(ends) if starts[number] < end and after > start]
    first_row = unit.first_row + (starts[chosen[0]] if chosen else 0)
    row_groups, group_rows = ([values[number] for number in chosen] for values in (unit.row_groups, unit.group_rows))
    return replace(unit, row_groups=tuple(row_groups), group_rows=tuple(group_rows), first_row=first_row)


def check_row_group(file: UnitFile, schema: pa.Schema, index: int, num_rows: int) -> Iterator[pa.RecordBatch] | str:
    """Read a row group and return its batches, or why it is unreadable.

    A row group counts only as a whole: where a page is missing, PyArrow moves the rows of that column up, and only the
    number of rows at the end shows it. So a small row group is kept in memory meanwhile, and a larger one is read
    again. Only damage makes it unreadable; a fault that may pass is raised. Strings are read as dictionaries, because a
    small file can hold one long text a million times. Where that is impossible, a few rows are read at a time. A row
    group whose strings turn out to have a usual size is then read plainly.
    """
    reason = ""
    for reader, batch_rows in ((file.as_dictionaries, CHUNK_ROWS), (file.plain, FEW_ROWS)):
        options: dict[str, Any] = {"row_groups": [index], "columns": schema.names, "use_threads": False}
        kept = _KeptBatches()
        rows, most_bytes, chunk_bytes = 0, 0, 0
        try:
            for batch in reader.iter_batches(batch_rows, **options):
                batch_bytes = int(count_row_bytes(batch).sum())
                chunk_bytes = batch_bytes + (chunk_bytes if rows % CHUNK_ROWS else 0)
                most_bytes = max(most_bytes, chunk_bytes)
                rows += len(batch)
                kept.add(batch, batch_bytes)
        except UNREADABLE as error:
            file.handle.refuse_fault(error)
            reason = f"this row group cannot be read ({describe_damage(error)})"
            if "DictAccumulator" in str(error) or isinstance(error, pa.ArrowNotImplementedError):
                continue
            return reason
        if rows != num_rows:
            return f"this row group has other rows than its footer promises ({rows}, not {num_rows})"
        if kept.are_all:
            return iter(kept.batches)
        if most_bytes <= CHUNK_BYTES:
            return iter(file.plain.iter_batches(CHUNK_ROWS, **options))
        return iter(reader.iter_batches(batch_rows, **options))
    return reason


class _KeptBatches:
    """The batches of a row group, as long as they are those of a plain reader and take little memory."""

    def __init__(self) -> None:
        self.batches: list[pa.RecordBatch] = []
        self.are_all = True
        self._num_bytes = 0

    def add(self, batch: pa.RecordBatch, string_bytes: int) -> None:
        """Keep one more batch, whose decoded strings have so many bytes, or forget all of them."""
        has_other_rows = bool(self.batches) and len(self.batches[-1]) != CHUNK_ROWS
        self._num_bytes += max(string_bytes, batch.nbytes)
        self.are_all = self.are_all and not has_other_rows and self._num_bytes <= KEPT_BYTES
        self.batches = [*self.batches, batch] if self.are_all else []


def _list_string_paths(file: parquet.ParquetFile) -> list[str]:
    """Return the paths of the columns that can be read as dictionaries: strings and bytes, also in lists and structs.

    PyArrow 26.0 cannot cast list views of dictionaries.
    """
    views = [field.name for field in file.schema_arrow if "list_view" in str(field.type)]
    columns = [file.schema.column(index) for index in range(len(file.schema))]
    return [
        column.path
        for column in columns
        if column.physical_type == "BYTE_ARRAY"
        and column.logical_type.type != "DECIMAL"
        and not any(column.path.startswith(f"{name}.") for name in views)
    ]

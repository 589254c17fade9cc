"""Reads the rows of a unit in windows of bounded size and says which texts cannot be scored; knows no model."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import parquet

from sentiment_ray.errors import DataError
from sentiment_ray.parquet_types import UNREADABLE, holds_texts, without_views
from sentiment_ray.score.footers import first_line
from sentiment_ray.score.plan import Unit
from sentiment_ray.storage import file_info, is_local, open_location
from sentiment_ray.text.encoding import join_texts

WINDOW_ROWS = 16_384
"""Rows in memory at a time: enough for batches of one length, few enough for any row."""
WINDOW_BYTES = 64 << 20
"""Bytes of strings in memory at a time, save that one row may be larger."""
FEW_ROWS = 16


@dataclass(frozen=True)
class Window:
    """Neighbouring rows of a file: a table of them or, where they cannot be read, the reason.

    `too_long` bool `(rows,)` says of which rows the strings are longer than allowed; the table may lack those.
    """

    first_row: int
    num_rows: int
    table: pa.Table | None
    too_long: NDArray[np.bool_]
    reason: str = ""


@dataclass(frozen=True)
class UnitFile:
    """The open file of a unit: `plain` reads its columns as they are, `compact` reads strings as dictionaries."""

    plain: parquet.ParquetFile
    compact: parquet.ParquetFile
    schema: pa.Schema
    is_local: bool


@contextmanager
def open_parquet(unit: Unit) -> Iterator[UnitFile]:
    """Open a unit's file; DataError when it is not the file that was planned."""
    check_version(unit)
    fs, path = open_location(unit.path)
    with (
        fs.open(path, "rb", cache_type="readahead") as handle,
        parquet.ParquetFile(handle, page_checksum_verification=True) as plain,
    ):
        schema = without_views(plain.schema_arrow)
        strings = [field.name for field in schema if holds_texts(field.type)]
        try:
            compact = parquet.ParquetFile(
                handle, metadata=plain.metadata, read_dictionary=strings, page_checksum_verification=True
            )
        except UNREADABLE:
            compact = plain
        yield UnitFile(plain, compact, schema, is_local(fs))
    check_version(unit)


def check_version(unit: Unit) -> None:
    """DataError when a unit's file is not the one that was planned; it may change while it is read."""
    fs, path = open_location(unit.path)
    try:
        fs.invalidate_cache()
        version = file_info(fs.info(path)).version
    except FileNotFoundError:
        version = "missing"
    if version != unit.version:
        raise DataError(f"{unit.path} has changed since the plan was made. Restore it, or pass --restart.")


def read_windows(
    file: UnitFile,
    schema: pa.Schema,
    unit: Unit,
    *,
    max_row_bytes: int,
    without: Collection[int] = (),
    certain: bool = True,
) -> Iterator[Window]:
    """Yield the rows of a unit in order, those columns that `schema` names, in its types.

    The strings of a row that has more than `max_row_bytes` of them are not decoded. A row group that cannot be read as
    a whole, or is in `without`, comes as one window with the reason. Unless `certain`, it raises OSError: on an object
    store it may be the network.
    """
    row = unit.first_row
    for index, num_rows in zip(unit.row_groups, unit.group_rows, strict=True):
        if index in without:
            yield _unread(row, num_rows, "reading this row group ends the process that does")
        else:
            way = check_row_group(file, schema, index, num_rows)
            if isinstance(way, str):
                check_version(unit)
                if not certain or _is_out_of_reach(file, unit):
                    raise OSError(f"{unit.path}: {way}")
                yield _unread(row, num_rows, way)
            else:
                start = row
                for batch in way:
                    for piece, too_long in _pieces(batch, max_row_bytes):
                        yield Window(start, len(piece), _decoded(piece, schema), too_long)
                        start += len(piece)
        row += num_rows


def check_row_group(file: UnitFile, schema: pa.Schema, index: int, num_rows: int) -> Iterator[pa.RecordBatch] | str:
    """Read a row group and keep nothing, then return how to read it in windows; or why that cannot be done.

    A row group counts only as a whole: PyArrow moves the rows of a column up when a page is missing, and only the
    number of rows at its end tells. Strings are read as dictionaries, for a small file can hold one long text a million
    times; where they cannot be, a few rows at a time. When they turn out to be of a usual size, they are read plainly.
    """
    reason = ""
    for reader, at_once in ((file.compact, WINDOW_ROWS), (file.plain, FEW_ROWS)):
        options: dict[str, Any] = {"row_groups": [index], "columns": schema.names, "use_threads": False}
        rows, heaviest, window_bytes = 0, 0, 0
        try:
            for batch in reader.iter_batches(at_once, **options):
                window_bytes = int(_row_bytes(batch).sum()) + (window_bytes if rows % WINDOW_ROWS else 0)
                heaviest = max(heaviest, window_bytes)
                rows += len(batch)
        except UNREADABLE as error:
            reason = f"this row group cannot be read ({first_line(error)})"
            if "DictAccumulator" in str(error):
                continue
            return reason
        if rows != num_rows:
            return f"this row group has other rows than its footer promises ({rows}, not {num_rows})"
        if heaviest <= WINDOW_BYTES:
            return iter(file.plain.iter_batches(WINDOW_ROWS, **options))
        return iter(reader.iter_batches(at_once, **options))
    return reason


def texts_of(window: Window, text_columns: Sequence[str]) -> tuple[list[str | None], dict[int, str]]:
    """Return the texts of a window, None for one that cannot be scored, and by index the reasons of those."""
    assert window.table is not None
    reasons: dict[int, str] = {}
    columns = [_decode(window.table[name], reasons) for name in text_columns]
    reasons |= dict.fromkeys(np.flatnonzero(window.too_long).tolist(), "row is longer than max_row_bytes")
    texts = columns[0] if len(columns) == 1 else [join_texts(parts) for parts in zip(*columns, strict=True)]
    for index, text in enumerate(texts):
        if index in reasons:
            texts[index] = None
        elif text is None:
            reasons[index] = "text is null"
        elif not text or text.isspace():
            reasons[index] = "text is empty"
            texts[index] = None
    return texts, reasons


def _decode(column: pa.ChunkedArray, reasons: dict[int, str]) -> list[str | None]:
    """Return the strings of a column; one that is no UTF-8 is None and gets a reason."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        pass
    value_type = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    texts: list[str | None] = []
    for index, value in enumerate(column.cast(value_type).cast(pa.large_binary())):
        data = value.as_py()
        try:
            texts.append(None if data is None else data.decode("utf-8"))
        except UnicodeDecodeError as error:
            texts.append(None)
            reasons[index] = f"text is not valid UTF-8 (byte {error.start} of {len(data)})"
    return texts


def _unread(first_row: int, num_rows: int, reason: str) -> Window:
    return Window(first_row, num_rows, None, np.zeros(num_rows, dtype=np.bool_), reason)


def _pieces(batch: pa.RecordBatch, max_row_bytes: int) -> Iterator[tuple[pa.RecordBatch, NDArray[np.bool_]]]:
    """Cut a batch into pieces of at most WINDOW_BYTES of decoded strings, and say which rows are too long."""
    row_bytes = _row_bytes(batch)
    too_long = row_bytes > max_row_bytes
    total = np.cumsum(np.where(too_long, 0, row_bytes))
    start = 0
    while start < len(batch):
        before = int(total[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(total, before + WINDOW_BYTES, side="right")))
        piece, long_here = batch.slice(start, end - start), too_long[start:end]
        yield _without_strings(piece, long_here) if long_here.any() else piece, long_here
        start = end


def _without_strings(batch: pa.RecordBatch, rows: NDArray[np.bool_]) -> pa.RecordBatch:
    """Return a batch whose dictionary columns are null in some rows, so that decoding those costs nothing."""
    columns = [
        pa.DictionaryArray.from_arrays(pc.if_else(pa.array(rows), None, column.indices), column.dictionary)
        if pa.types.is_dictionary(column.type)
        else column
        for column in batch.columns
    ]
    return pa.record_batch(columns, names=batch.schema.names)


def _row_bytes(batch: pa.RecordBatch) -> NDArray[np.int64]:
    """Return int64 `(rows,)`: the bytes of each row's strings when decoded."""
    row_bytes = np.zeros(len(batch), dtype=np.int64)
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            lengths = np.append(_lengths(column.dictionary), 0)
            indices = column.indices.cast(pa.int64())  # int8 has no room for one more than 128 values
            row_bytes += lengths[np.asarray(pc.fill_null(indices, len(lengths) - 1))]
        elif holds_texts(column.type):
            row_bytes += _lengths(column)
    return row_bytes


def _lengths(strings: pa.Array) -> NDArray[np.int64]:
    if pa.types.is_string_view(strings.type) or pa.types.is_binary_view(strings.type):
        strings = strings.cast(pa.large_binary())
    return np.asarray(pc.fill_null(pc.binary_length(strings), 0), dtype=np.int64)


def _decoded(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    columns = [
        (column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column).cast(field.type)
        if column.type != field.type
        else column
        for column, field in zip(batch.select(schema.names).columns, schema, strict=True)
    ]
    return pa.table(columns, schema=pa.schema([field.with_nullable(True) for field in schema]))


def _is_out_of_reach(file: UnitFile, unit: Unit) -> bool:
    """Whether a file on an object store cannot be read as bytes either, so that nothing speaks against its rows."""
    if file.is_local:
        return False
    fs, path = open_location(unit.path)
    try:
        fs.cat_file(path, start=0, end=4)
    except OSError:
        return True
    return False

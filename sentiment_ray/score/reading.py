"""Reads the rows of a unit in windows of bounded size and says which texts cannot be scored; knows no model."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from sentiment_ray.errors import DataError
from sentiment_ray.score.plan import Unit
from sentiment_ray.storage import file_info, is_local, open_location

WINDOW_ROWS = 16_384
"""Rows in memory at a time: enough for batches of one length, few enough for any row."""
WINDOW_BYTES = 64 << 20
"""Bytes of strings in memory at a time, save that one row may be larger."""


@dataclass(frozen=True)
class Window:
    """Neighbouring rows of a file: a table of them or, where they cannot be read, the reason."""

    first_row: int
    num_rows: int
    table: pa.Table | None
    reason: str = ""


@contextmanager
def open_parquet(unit: Unit) -> Iterator[tuple[parquet.ParquetFile, pa.Schema]]:
    """Open a unit's file and tell its schema; DataError when it is not the file that was planned.

    Strings are read as dictionaries: a small file can hold one long text a million times, and only the decoded column
    would be large.
    """
    fs, path = open_location(unit.path)
    try:
        version = file_info(fs.info(path)).version
    except FileNotFoundError:
        version = "missing"
    if version != unit.version:
        raise DataError(f"{unit.path} has changed since the plan was made. Restore it, or pass --restart.")
    with fs.open(path, "rb", cache_type="readahead") as handle, parquet.ParquetFile(handle) as file:
        schema = file.schema_arrow
        strings = [field.name for field in schema if _is_string(field.type)]
        with parquet.ParquetFile(handle, metadata=file.metadata, read_dictionary=strings) as opened:
            yield opened, schema


def read_windows(
    file: parquet.ParquetFile, schema: pa.Schema, unit: Unit, *, without: Collection[int] = (), certain: bool = True
) -> Iterator[Window]:
    """Yield the rows of a unit in order, those columns that `schema` names, in its types.

    What cannot be read, and the row groups `without`, come as windows with a reason; every row comes exactly once.
    Unless `certain`, what cannot be read raises OSError: on an object store it may be the network's fault.
    """
    row = unit.first_row
    for index, num_rows in zip(unit.row_groups, unit.group_rows, strict=True):
        end = row + num_rows
        reason = f"reading row group {index} ends the process that does"
        if index not in without:
            reason = f"row group {index} has fewer rows than its footer says"
            try:
                batches = file.iter_batches(WINDOW_ROWS, row_groups=[index], columns=schema.names, use_threads=False)
                for batch in batches:
                    for piece in _pieces(pa.Table.from_batches([batch]).slice(0, end - row)):
                        yield Window(row, len(piece), _decoded(piece, schema))
                        row += len(piece)
            except (pa.ArrowException, OSError, MemoryError) as error:
                if not certain or _is_out_of_reach(unit):
                    raise OSError(f"{unit.path}: {error}") from error
                line = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
                reason = f"row group {index} cannot be read from row {row} on ({line})"
        if row < end:
            yield Window(row, end - row, None, reason)
            row = end


def texts_of(column: pa.ChunkedArray, max_bytes: int) -> tuple[list[str | None], dict[int, str]]:
    """Return the texts of a column, None for one that cannot be scored, and by index the reasons of those."""
    lengths = np.asarray(pc.fill_null(pc.binary_length(column), 0))
    binary = column.cast(pa.large_binary())
    try:
        texts: list[str | None] = column.to_pylist()
        reasons: dict[int, str] = {}
    except UnicodeDecodeError:
        texts, reasons = _decode_each(binary)
    for index, text in enumerate(texts):
        if index in reasons:
            continue
        if text is None:
            reasons[index] = "text is null"
        elif lengths[index] > max_bytes:
            reasons[index] = f"text is longer than {max_bytes} bytes"
        elif not text or text.isspace():
            reasons[index] = "text is empty"
    for index in reasons:
        texts[index] = None
    return texts, reasons


def _decode_each(binary: pa.ChunkedArray) -> tuple[list[str | None], dict[int, str]]:
    texts: list[str | None] = []
    reasons: dict[int, str] = {}
    for index, value in enumerate(binary):
        try:
            data = value.as_py()
            texts.append(None if data is None else data.decode("utf-8"))
        except UnicodeDecodeError as error:
            texts.append(None)
            reasons[index] = f"text is not valid UTF-8 (byte {error.start} of {len(data)})"
    return texts, reasons


def _pieces(table: pa.Table) -> Iterator[pa.Table]:
    """Cut a table so that the strings of each piece, decoded, have at most WINDOW_BYTES, or it is one row."""
    row_bytes = np.zeros(len(table), dtype=np.int64)
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            row_bytes += _decoded_bytes(column.combine_chunks())
    total = np.cumsum(row_bytes)
    start = 0
    while start < len(table):
        before = int(total[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(total, before + WINDOW_BYTES, side="right")))
        yield table.slice(start, end - start)
        start = end


def _decoded_bytes(column: pa.DictionaryArray) -> np.ndarray:
    array = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    lengths = np.append(np.asarray(pc.fill_null(pc.binary_length(array.dictionary), 0), dtype=np.int64), 0)
    return lengths[np.asarray(pc.fill_null(array.indices, len(lengths) - 1))]


def _decoded(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        column.cast(column.type.value_type).cast(field.type) if pa.types.is_dictionary(column.type) else column
        for column, field in zip(table.select(schema.names).columns, schema, strict=True)
    ]
    return pa.table(columns, schema=schema)


def _is_string(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(
        check(value)
        for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    )


def _is_out_of_reach(unit: Unit) -> bool:
    """Whether a file on an object store cannot be read as bytes either, so that nothing speaks against its rows."""
    fs, path = open_location(unit.path)
    if is_local(fs):
        return False
    try:
        fs.cat_file(path, start=0, end=4)
    except OSError:
        return True
    return False

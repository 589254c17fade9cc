"""Chunks of neighbouring rows, bounded in rows and bytes, and the texts in them; opens no files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sentiment_ray.errors import first_line
from sentiment_ray.parquet_types import cast_column, contains_strings, read_texts
from sentiment_ray.text.encoding import join_texts

CHUNK_BYTES = 64 << 20
"""Most bytes of strings in memory at a time, unless a single row is larger."""


@dataclass(frozen=True)
class RowChunk:
    """Neighbouring rows of a file: a table or, where they cannot be read, the reason.

    `too_long` bool `(rows,)` marks the rows with longer strings than allowed; the table may hold null instead of them.
    """

    first_row: int
    num_rows: int
    table: pa.Table | None
    too_long: NDArray[np.bool_]
    reason: str = ""


def make_unreadable_chunk(first_row: int, num_rows: int, reason: str) -> RowChunk:
    """Return the chunk of rows that cannot be read."""
    return RowChunk(first_row, num_rows, None, np.zeros(num_rows, dtype=np.bool_), reason)


def cut_batch(batch: pa.RecordBatch, schema: pa.Schema, first_row: int, max_row_bytes: int) -> Iterator[RowChunk]:
    """Cut a batch into chunks of at most CHUNK_BYTES of decoded strings, with the types of `schema`.

    The strings of a row that has more than `max_row_bytes` of them are not decoded where they are dictionaries.
    """
    row_bytes = count_row_bytes(batch)
    too_long = row_bytes > max_row_bytes
    total = np.cumsum(np.where(too_long, 0, row_bytes))
    start = 0
    while start < len(batch):
        before = int(total[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(total, before + CHUNK_BYTES, side="right")))
        piece, long_rows = batch.slice(start, end - start), too_long[start:end]
        piece = _drop_dictionary_values(piece, long_rows) if long_rows.any() else piece
        try:
            yield RowChunk(first_row + start, len(piece), _cast(piece, schema), long_rows)
        except pa.ArrowException as error:
            if isinstance(error, MemoryError):
                raise
            yield make_unreadable_chunk(first_row + start, len(piece), first_line(error))
        start += len(piece)


def count_row_bytes(batch: pa.RecordBatch) -> NDArray[np.int64]:
    """Return int64 `(rows,)`: the bytes of all strings of each row, at any depth, when they are decoded."""
    row_bytes = np.zeros(len(batch), dtype=np.int64)
    for column in batch.columns:
        if contains_strings(column.type):
            row_bytes += _count_string_bytes(column)
    return row_bytes


def extract_texts(chunk: RowChunk, text_columns: Sequence[str]) -> tuple[list[str | None], dict[int, str]]:
    """Return the texts of a chunk, None for each that cannot be scored, and the reason for each None by its index."""
    assert chunk.table is not None
    reasons: dict[int, str] = {}
    columns = [_decode_strings(chunk.table[name], reasons) for name in text_columns]
    reasons |= dict.fromkeys(np.flatnonzero(chunk.too_long).tolist(), "row is longer than max_row_bytes")
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


def _decode_strings(column: pa.ChunkedArray, reasons: dict[int, str]) -> list[str | None]:
    """Return the strings of a column; one that is not UTF-8 becomes None and gets a reason."""
    texts: list[str | None] = []
    for index, value in enumerate(read_texts(column)):
        if isinstance(value, bytes):
            reasons[index] = _describe_wrong_bytes(value)
        texts.append(None if isinstance(value, bytes) else value)
    return texts


def _describe_wrong_bytes(value: bytes) -> str:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"text is not valid UTF-8 (byte {error.start} of {len(value)})"
    raise AssertionError("only values that are not UTF-8 stay bytes")


def _drop_dictionary_values(batch: pa.RecordBatch, rows: NDArray[np.bool_]) -> pa.RecordBatch:
    """Return a batch whose dictionaries, also those in lists, are null in some rows, so that decoding costs nothing."""
    indices = pa.array(np.arange(len(batch)), mask=rows)
    columns = []
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            column = pa.DictionaryArray.from_arrays(pc.if_else(pa.array(rows), None, column.indices), column.dictionary)
        elif pa.types.is_nested(column.type) and contains_strings(column.type):
            column = column.take(indices)
        columns.append(column)
    return pa.record_batch(columns, names=batch.schema.names)


def _count_string_bytes(array: pa.Array) -> NDArray[np.int64]:
    """Return int64 `(rows,)`: the bytes of the strings of each row of an array whose type contains strings."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _count_string_bytes(array.storage)
    if pa.types.is_dictionary(kind):
        lengths = np.append(_count_string_bytes(array.dictionary), 0)
        indices = array.indices.cast(pa.int64())  # int8 cannot hold the index of a 129th value, which null gets
        return lengths[np.asarray(pc.fill_null(indices, len(lengths) - 1))]
    if pa.types.is_struct(kind):
        fields = [array.field(index) for index in range(kind.num_fields) if contains_strings(kind[index].type)]
        return np.sum([_count_string_bytes(field) for field in fields], axis=0, dtype=np.int64)
    if pa.types.is_nested(kind):
        return _count_items_bytes(array)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        array = array.cast(pa.large_binary())
    return np.asarray(pc.fill_null(pc.binary_length(array), 0), dtype=np.int64)


def _count_items_bytes(lists: pa.Array) -> NDArray[np.int64]:
    """Return int64 `(rows,)`: the bytes of the strings in each list, or in each map."""
    if pa.types.is_fixed_size_list(lists.type):
        starts = (lists.offset + np.arange(len(lists))) * lists.type.list_size
        ends = starts + lists.type.list_size
    elif pa.types.is_list_view(lists.type) or pa.types.is_large_list_view(lists.type):
        starts = np.asarray(lists.offsets, dtype=np.int64)
        ends = starts + np.asarray(lists.sizes, dtype=np.int64)
    else:
        offsets = np.asarray(lists.offsets, dtype=np.int64)
        starts, ends = offsets[:-1], offsets[1:]
    if not len(lists):
        return np.zeros(0, dtype=np.int64)
    first, last = int(starts.min()), int(ends.max())
    if pa.types.is_map(lists.type):
        parts = [part for part in (lists.keys, lists.items) if contains_strings(part.type)]
    else:
        parts = [lists.values]
    row_bytes = np.zeros(len(lists), dtype=np.int64)
    for part in parts:
        total = np.append(0, np.cumsum(_count_string_bytes(part.slice(first, last - first))))
        row_bytes += total[ends - first] - total[starts - first]
    return row_bytes


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    """Return a batch with the types of `schema`; ArrowInvalid names the first column whose values have no such type."""
    columns = []
    for field in schema:
        try:
            columns.append(cast_column(batch[field.name], field.type))
        except pa.ArrowException as error:
            if isinstance(error, MemoryError):
                raise
            raise pa.ArrowInvalid(
                f"column {field.name!r} cannot be cast to {field.type} ({first_line(error)})"
            ) from None
    return pa.table(columns, schema=pa.schema([field.with_nullable(True) for field in schema]))

"""Reads one task of any format into tables of raw rows; knows formats, not labels, splits or Ray."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from sentiment_ray.data.copied_columns import append_struct, count_characters
from sentiment_ray.data.readers.chat import read_chats
from sentiment_ray.data.readers.delimited import read_delimited
from sentiment_ray.data.readers.jsonl import read_jsonl
from sentiment_ray.data.readers.parquet import read_row_group
from sentiment_ray.data.readers.read_task import CopiedRow, ReadTask, Row
from sentiment_ray.data.readers.text_lines import explain_invalid_bytes
from sentiment_ray.data.readers.timestamps import NO_TIME, parse_microseconds
from sentiment_ray.data.source_config import Source
from sentiment_ray.text.encoding import join_texts

SCHEMA = pa.schema(
    [("source", pa.string()), ("file", pa.string()), ("row", pa.int64()), ("id", pa.string()), ("text", pa.string())]
    + [("label", pa.string()), ("group", pa.string()), ("time", pa.int64()), ("reason", pa.string())]
)
MAX_TEXT_BYTES = 1 << 20
MAX_TABLE_ROWS = 10_000
MAX_TABLE_CHARACTERS = 16 << 20
UNDECODED_BYTE = re.compile("[\udc80-\udcff]")
"""What the error handler `surrogateescape` makes of a byte."""
READERS = {
    "parquet": read_row_group,
    "csv": read_delimited,
    "tsv": read_delimited,
    "jsonl": read_jsonl,
    "chat": read_chats,
}


class _TextRow(NamedTuple):
    """The columns of SCHEMA that differ from row to row, as texts."""

    number: int
    id: str | None = None
    text: str | None = None
    label: str | None = None
    split_value: str | int | None = None
    """The group, or the time in microseconds since 1970."""
    reason: str | None = None


def read_tables(task: ReadTask, source: Source) -> Iterator[pa.Table]:
    """Yield the rows of a task as tables of SCHEMA with at most 10,000 rows each, and with the columns to copy.

    `text` is kept as it is; the texts of several columns are joined as scoring joins them. `label` is the raw label as
    a string. A row that cannot have these has a `reason`. A row without an id gets one from the source's name, the
    file's path in the source and the row's number. DataError if a file cannot be read to its end.
    """
    rows: list[_TextRow] = []
    copied: list[Any] = []
    num_characters = 0
    for row in READERS[task.format](task, source):
        rows.append(_to_text_row(row, task, source))
        copied.append(row.copied)
        num_characters += len(rows[-1].text or "") + count_characters(row.copied)
        if len(rows) == MAX_TABLE_ROWS or num_characters > MAX_TABLE_CHARACTERS:
            yield _to_table(rows, copied, task, source)
            rows, copied, num_characters = [], [], 0
    if rows:
        yield _to_table(rows, copied, task, source)


def _to_text_row(row: Row, task: ReadTask, source: Source) -> _TextRow:
    """Return the row with its id, text and label as strings, or with the reason why it has none."""
    if row.reason is not None:
        return _TextRow(row.number, reason=row.reason)
    text = row.texts[0] if len(row.texts) == 1 else _join_columns(row.texts)
    if text is not None and not isinstance(text, str):
        return _TextRow(row.number, reason="text is not a string")
    label = _label_to_text(row.label)
    if label is None and row.label is not None:
        return _TextRow(row.number, reason="label is neither a string nor a number")
    row_id = None if row.id is None else str(row.id)
    copied = [] if isinstance(row.copied, CopiedRow) else [value for value in row.copied if isinstance(value, str)]
    texts = (text, label, row_id, *copied)
    if not all(value is None or value.isascii() or _is_utf8(value) for value in texts):
        return _TextRow(row.number, reason=_explain_surrogates(texts, task, source))
    if text is not None and 4 * len(text) > MAX_TEXT_BYTES and len(text.encode()) > MAX_TEXT_BYTES:
        return _TextRow(row.number, reason=f"text longer than {MAX_TEXT_BYTES} bytes")
    return _add_split_value(_TextRow(row.number, row_id, text, label), row.split_value, source)


def _join_columns(texts: tuple[Any, ...]) -> Any:
    """Return the joined text, None only if all texts are null; a value that is not a string is returned as it is."""
    for text in texts:
        if text is not None and not isinstance(text, str):
            return text
    return join_texts(texts) or next((text for text in texts if text is not None), None)


def _add_split_value(row: _TextRow, value: Any, source: Source) -> _TextRow:
    """Return the row with its group as a string or its time in microseconds, or with the reason why it has none."""
    if value is None:
        return row
    if source.time_column:
        time = parse_microseconds(value)
        is_blank = isinstance(value, str) and not value.strip()
        return row._replace(split_value=time, reason=None if is_blank or time is not None else NO_TIME)
    group = _label_to_text(value)
    if group is None or not _is_utf8(group):
        return row._replace(reason="group is neither a string nor a number")
    return row._replace(split_value=group.strip() or None)


def _label_to_text(value: Any) -> str | None:
    """Return a label as text, a whole number without a decimal point; None for a value that cannot be a label."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, str | int | float) else None


def _is_utf8(text: str) -> bool:
    """Return False for a text with a lone surrogate, which comes from a byte outside UTF-8 or from half a \\u pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _explain_surrogates(texts: tuple[str | None, ...], task: ReadTask, source: Source) -> str:
    """Return the reason for a text with lone surrogates: bytes in another encoding, or half of a \\u pair in JSON."""
    has_bytes = any(text and UNDECODED_BYTE.search(text) for text in texts)
    if task.format == "parquet" or not has_bytes:
        return "invalid UTF-8"
    return explain_invalid_bytes(Path(task.path), source.encoding)


def _to_table(rows: list[_TextRow], copied: list[Any], task: ReadTask, source: Source) -> pa.Table:
    numbers, ids, texts, labels, split_values, reasons = zip(*rows, strict=True)
    nulls = [None] * len(rows)
    groups, times = (nulls, split_values) if source.time_column else (split_values, nulls)
    ids = tuple(row.id or f"{task.id_prefix}:{row.number}" for row in rows)
    columns = ([source.name] * len(rows), [task.path] * len(rows), numbers, ids, texts, labels, groups, times, reasons)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    table = pa.table(arrays, schema=SCHEMA)
    return append_struct(table, copied, task.copied) if task.copied.num_fields else table

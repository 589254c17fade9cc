"""Reads a unit of any format into tables of raw rows; knows formats, not labels, splits or Ray."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from sentiment_ray.data.config import Source
from sentiment_ray.data.readers.chat import read_chats
from sentiment_ray.data.readers.delimited import read_objects, read_separated
from sentiment_ray.data.readers.parquet import read_row_group
from sentiment_ray.data.readers.timestamps import NO_TIME, microseconds_of
from sentiment_ray.data.readers.units import Row, Unit
from sentiment_ray.text.encoding import join_texts

SCHEMA = pa.schema(
    [("source", pa.string()), ("file", pa.string()), ("row", pa.int64()), ("id", pa.string())]
    + [
        ("text", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("time", pa.int64()),
        ("reason", pa.string()),
    ]
)
LONGEST_TEXT_BYTES = 1 << 20
TABLE_ROWS = 10_000
TABLE_CHARACTERS = 16 << 20
READERS = {
    "parquet": read_row_group,
    "csv": read_separated,
    "tsv": read_separated,
    "jsonl": read_objects,
    "chat": read_chats,
}


class _Strings(NamedTuple):
    """A row's columns of SCHEMA that differ from row to row."""

    number: int
    id: str | None = None
    text: str | None = None
    label: str | None = None
    key: str | int | None = None
    """Its group, or its time in microseconds since 1970."""
    reason: str | None = None


def read_unit(unit: Unit, source: Source) -> Iterator[pa.Table]:
    """Yield the rows of a unit as tables of SCHEMA, at most 10,000 rows each.

    `text` is a string as it stands, several columns joined as scoring joins them; `label` is the raw label as a string;
    a row that cannot have them has a `reason`. An id that no column gives is made of the source's name, the file's path
    in the source and the row's number.
    DataError naming the file when it cannot be read to its end.
    """
    rows: list[_Strings] = []
    characters = 0
    for row in READERS[unit.format](unit, source):
        rows.append(_with_strings(row, source))
        characters += len(rows[-1].text or "")
        if len(rows) == TABLE_ROWS or characters > TABLE_CHARACTERS:
            yield _to_table(rows, unit, source)
            rows, characters = [], 0
    if rows:
        yield _to_table(rows, unit, source)


def _with_strings(row: Row, source: Source) -> _Strings:
    """Return the row with its id, text and label as strings, or with the reason why it has none."""
    if row.reason is not None:
        return _Strings(row.number, reason=row.reason)
    text = row.texts[0] if len(row.texts) == 1 else _joined(row.texts)
    if text is not None and not isinstance(text, str):
        return _Strings(row.number, reason="text is not a string")
    label = _label_as_string(row.label)
    if label is None and row.label is not None:
        return _Strings(row.number, reason="label is neither a string nor a number")
    identity = None if row.id is None else str(row.id)
    if not all(value is None or value.isascii() or _is_utf8(value) for value in (text, label, identity)):
        return _Strings(row.number, reason="invalid UTF-8")
    if text is not None and 4 * len(text) > LONGEST_TEXT_BYTES and len(text.encode()) > LONGEST_TEXT_BYTES:
        return _Strings(row.number, reason=f"text longer than {LONGEST_TEXT_BYTES} bytes")
    return _with_key(_Strings(row.number, identity, text, label), row.key, source)


def _joined(texts: tuple[Any, ...]) -> Any:
    """Return the text that several columns make, None only when all are null; a value that is no string as it is."""
    for text in texts:
        if text is not None and not isinstance(text, str):
            return text
    return join_texts(texts) or next((text for text in texts if text is not None), None)


def _with_key(row: _Strings, key: Any, source: Source) -> _Strings:
    """Return the row with its group as a string or its time as microseconds, or with the reason why it has none."""
    if key is None:
        return row
    if source.time_column:
        time = microseconds_of(key)
        is_blank = isinstance(key, str) and not key.strip()
        return row._replace(key=time, reason=None if is_blank or time is not None else NO_TIME)
    group = _label_as_string(key)
    if group is None or not _is_utf8(group):
        return row._replace(reason="group is neither a string nor a number")
    return row._replace(key=group.strip() or None)


def _label_as_string(value: Any) -> str | None:
    """Return how a label is spelt, a whole number without its point; None for what is no label."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, str | int | float) else None


def _is_utf8(text: str) -> bool:
    """Whether a text has no lone surrogate: what a byte outside UTF-8 is read as, and what a half \\u pair leaves."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _to_table(rows: list[_Strings], unit: Unit, source: Source) -> pa.Table:
    numbers, ids, texts, labels, keys, reasons = zip(*rows, strict=True)
    nothing = [None] * len(rows)
    groups, times = (nothing, keys) if source.time_column else (keys, nothing)
    ids = tuple(row.id or f"{unit.id_prefix}:{row.number}" for row in rows)
    columns = ([source.name] * len(rows), [unit.path] * len(rows), numbers, ids, texts, labels, groups, times, reasons)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.table(arrays, schema=SCHEMA)

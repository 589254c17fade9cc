"""Reads rows from JSON Lines files, one object on each line."""

import json
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sentiment_ray.column_names import resolve_column
from sentiment_ray.data.readers.content import check_content
from sentiment_ray.data.readers.json_array import ARRAY_OF_OBJECTS, read_array
from sentiment_ray.data.readers.json_layout import explain_layout, explain_table, is_table, spans_lines
from sentiment_ray.data.readers.read_task import ReadTask, Row
from sentiment_ray.data.readers.text_lines import (
    BYTE_ORDER_MARK,
    MAX_LINE_BYTES,
    explain_invalid_bytes,
    guess_file_encoding,
    open_text,
    read_lines,
)
from sentiment_ray.data.source_config import Source
from sentiment_ray.errors import DataError

NO_OBJECT = "not a JSON object"
START_CHARACTERS = 1000
HEAD_LINES, MAX_HEAD_LINES = 100, 10_000
"""Number of lines whose keys are read. If an expected key is missing there, more lines are read: many writers leave
out nulls."""


def read_jsonl(task: ReadTask, source: Source) -> Iterator[Row]:
    """Yield the rows of a JSON Lines file."""
    for number, value, reason in read_json_lines(Path(task.path), source.encoding):
        if value is None:
            yield Row(number, reason=reason)
        else:
            columns = task.path_columns | value if task.path_columns else value
            row_id = _get_value(columns, source.id_column) if source.id_column else None
            texts = tuple([_get_value(columns, name) for name in source.text_column])
            split_value = _get_value(columns, source.split_column) if source.split_column else None
            copied = tuple([_get_value(columns, name) for name in task.copied.names])
            yield Row(number, row_id, texts, _get_value(columns, source.label_column), split_value, None, copied)


def read_keys(path: Path, encoding: str | None = None, *, expected: Collection[str] = ()) -> list[str]:
    """Return the keys of the first objects of a JSON Lines file; empty if there is no object.

    If one of the `expected` keys is not among them, the keys of more objects are read. DataError if the file holds
    something else: another format, or JSON that is not one object on each line.
    """
    check_content(path, "jsonl", encoding)
    keys: dict[str, None] = {}
    num_lines = num_objects = 0
    value, reason, starts_with_object = None, None, False
    for num_lines, (_, value, reason) in enumerate(islice(read_json_lines(path, encoding), MAX_HEAD_LINES), start=1):  # noqa: B007
        keys |= dict.fromkeys(value or ())
        starts_with_object |= num_lines == 1 and value is not None
        num_objects += value is not None
        if num_lines >= HEAD_LINES and all(resolve_column(name, keys) for name in expected):
            break
    if num_lines and not (num_objects and starts_with_object):
        _check_layout(path, encoding, reason, has_objects=num_objects > 0)
    if num_lines == 1 and value and expected and is_table(value, expected):
        raise DataError(f"{path} holds one object. {explain_table(value)}")
    return list(keys)


def _get_value(columns: dict[str, Any], name: str) -> Any:
    """Return the value of a key, which may have white space around it; None if there is no such key."""
    if name in columns:
        return columns[name]
    key = resolve_column(name, columns)
    return None if key is None else columns[key]


def read_json_lines(path: Path, encoding: str | None = None) -> Iterator[tuple[int, dict[str, Any] | None, str | None]]:
    """Yield each line's number and JSON object, or None and the reason why it has none; blank lines are skipped.

    Of a file that is a JSON array, yield each value's number, from 1, and the same.
    """
    with open_text(path, encoding) as file:
        start = file.read(START_CHARACTERS)
    if ARRAY_OF_OBJECTS.match(start):
        yield from _read_array_values(path, encoding)
        return
    for number, line in enumerate(read_lines(path, encoding), start=1):
        if not line.strip():
            continue
        value, reason = None, NO_OBJECT
        try:
            value = json.loads(line.removeprefix(BYTE_ORDER_MARK).decode())
        except UnicodeDecodeError:
            reason = explain_invalid_bytes(path, encoding)
        except (ValueError, RecursionError):
            if len(line) == MAX_LINE_BYTES:
                reason = f"line longer than {MAX_LINE_BYTES} bytes"
        yield (number, value, None) if isinstance(value, dict) else (number, None, reason)


def _read_array_values(path: Path, encoding: str | None) -> Iterator[tuple[int, dict[str, Any] | None, str | None]]:
    try:
        with open_text(path, encoding) as file:
            for number, value in enumerate(read_array(file, path), start=1):
                yield (number, value, None) if isinstance(value, dict) else (number, None, NO_OBJECT)
    except DataError:
        if encoding or not guess_file_encoding(path):
            raise
        raise DataError(f"{path}: its text is {explain_invalid_bytes(path, encoding)}.") from None


def _check_layout(path: Path, encoding: str | None, reason: str | None, *, has_objects: bool) -> None:
    """Raise DataError if the first line of a file is no object because no line is, or because objects span lines."""
    if reason and reason.startswith("invalid") and not has_objects:
        raise DataError(f"{path}: its lines are {reason}.")
    with open_text(path, encoding) as file:
        text = file.read(MAX_LINE_BYTES)
    if not has_objects or spans_lines(text):
        raise DataError(f"{path}: {explain_layout(text)}")

"""Reads rows from JSON Lines files, one object on each line."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sentiment_ray.column_names import resolve_column
from sentiment_ray.data.readers.read_task import ReadTask, Row
from sentiment_ray.data.readers.text_lines import MAX_LINE_BYTES, read_lines
from sentiment_ray.data.source_config import Source

HEAD_LINES, MAX_HEAD_LINES = 100, 10_000
"""Number of lines whose keys are read. If an expected key is missing there, more lines are read: many writers leave
out nulls."""


def read_jsonl(task: ReadTask, source: Source) -> Iterator[Row]:
    """Yield the rows of a JSON Lines file."""
    for number, value, reason in read_json_lines(Path(task.path)):
        if value is None:
            yield Row(number, reason=reason)
        else:
            columns = task.path_columns | value if task.path_columns else value
            row_id = _get_value(columns, source.id_column) if source.id_column else None
            texts = tuple([_get_value(columns, name) for name in source.text_column])
            split_value = _get_value(columns, source.split_column) if source.split_column else None
            copied = tuple([_get_value(columns, name) for name in task.copied.names])
            yield Row(number, row_id, texts, _get_value(columns, source.label_column), split_value, None, copied)


def read_keys(path: Path, *, expected: Iterable[str] = ()) -> list[str]:
    """Return the keys of the first objects of a JSON Lines file; empty if there is no object.

    If one of the `expected` keys is not among them, the keys of more objects are read.
    """
    keys: dict[str, None] = {}
    for num_lines, (_, value, _) in enumerate(islice(read_json_lines(path), MAX_HEAD_LINES), start=1):
        keys |= dict.fromkeys(value or ())
        if num_lines >= HEAD_LINES and keys.keys() >= set(expected):
            break
    return list(keys)


def _get_value(columns: dict[str, Any], name: str) -> Any:
    """Return the value of a key, which may have white space around it; None if there is no such key."""
    if name in columns:
        return columns[name]
    key = resolve_column(name, columns)
    return None if key is None else columns[key]


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | None, str | None]]:
    """Yield each line's number and JSON object, or None and the reason why it has none; blank lines are skipped."""
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        value, reason = None, "not a JSON object"
        try:
            value = json.loads(line.decode())
        except UnicodeDecodeError:
            reason = "invalid UTF-8"
        except (ValueError, RecursionError):
            if len(line) == MAX_LINE_BYTES:
                reason = f"line longer than {MAX_LINE_BYTES} bytes"
        yield (number, value, None) if isinstance(value, dict) else (number, None, reason)

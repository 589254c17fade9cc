"""Writes text files, and reads a source as the tasks of a preparation do, without Ray."""

import csv
import io
from pathlib import Path
from typing import Any

from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.readers.rows import SCHEMA, read_tables
from sentiment_ray.data.sources import list_files, make_read_tasks, resolve_paths

GOOD = [("good", "positive"), ("bad", "negative"), ("so so", "neutral")]


def read(path: Path | str, **keys: Any) -> list[dict[str, Any]]:
    """Return all rows of a source as dictionaries of SCHEMA's columns."""
    source = {"path": str(path), "name": "s", **keys}
    config = resolve_paths(PrepareConfig(output=str(Path(path).parent / "output"), sources=[source]))
    units = make_read_tasks(config, list_files(config))
    tables = [table for unit in units for table in read_tables(unit, config.sources[0])]
    assert all(table.schema == SCHEMA for table in tables)
    return [row for table in tables for row in table.to_pylist()]


def texts_and_labels(rows: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    return [(row["text"], row["label"]) for row in rows]


def reasons(rows: list[dict[str, Any]]) -> dict[int, str | None]:
    return {row["row"]: row["reason"] for row in rows}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def format_rows(rows: list[tuple[str, str]], **options: Any) -> str:
    file = io.StringIO()
    csv.writer(file, **options).writerows([("text", "label"), *rows])
    return file.getvalue()

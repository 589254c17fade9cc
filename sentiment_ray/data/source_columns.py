"""Checks that a file of a source has the columns that the source names; reads headers and footers, no rows."""

import pyarrow as pa

from sentiment_ray.data.readers.delimited import DELIMITERS, read_header
from sentiment_ray.data.readers.jsonl import read_keys
from sentiment_ray.data.readers.parquet import Footer, can_hold_labels, can_hold_texts
from sentiment_ray.data.source_config import Source
from sentiment_ray.data.source_file import SourceFile
from sentiment_ray.errors import DataError

MAX_NAMES_SHOWN = 20


def check_columns(file: SourceFile, source: Source, footer: Footer | None) -> None:
    """Raise DataError for a file that lacks a column, has it twice, or whose column cannot hold texts or labels."""
    names_by_key = _list_names_by_key(source)
    columns = footer.schema.names if footer else _read_text_columns(file, names_by_key)
    if file.format == "chat":
        if columns and "messages" not in columns:
            raise DataError(
                f"{file.path}: the key 'messages' of a chat is missing (found: {join_names(columns)}). "
                "Pass --format jsonl if each line has a text and a label."
            )
        return
    if file.format == "jsonl" and not columns:
        return
    for key, names in names_by_key.items():
        flag = "" if key == "id_column" else f"Pass --{key.replace('_', '-')}, or s"
        remedy = f"{flag or 'S'}et {key} for the source {source.name!r}."
        for name in names:
            _check_column(file, name, columns, remedy)
            if footer and name in columns:
                _check_type(file, key, footer.schema.field(name), remedy)


def join_names(names: list[str]) -> str:
    """Return names as one text; of more than MAX_NAMES_SHOWN, the first ones."""
    return ", ".join(names[:MAX_NAMES_SHOWN]) + (", ..." if len(names) > MAX_NAMES_SHOWN else "")


def _read_text_columns(file: SourceFile, names_by_key: dict[str, tuple[str, ...]]) -> list[str]:
    if file.format in DELIMITERS:
        return read_header(file.path, file.format)
    expected = () if file.format == "chat" else sum(names_by_key.values(), ())
    return read_keys(file.path, expected=expected)


def _check_column(file: SourceFile, name: str, columns: list[str], remedy: str) -> None:
    count = columns.count(name)
    if count > 1:
        raise DataError(f"{file.path} has {count} columns {name!r}. Rename all but one of them.")
    if count or name in file.path_columns:
        return
    found = join_names([*columns, *file.path_columns])
    if "messages" in columns:
        remedy = f"Pass --format chat, or set format for the source {file.id_prefix.partition('/')[0]!r}."
    raise DataError(f"{file.path}: the column {name!r} is missing (found: {found}). {remedy}")


def _check_type(file: SourceFile, key: str, column: pa.Field, remedy: str) -> None:
    if key == "text_column" and not can_hold_texts(column.type):
        raise DataError(f"{file.path}: the column {column.name!r} holds {column.type}, not texts. {remedy}")
    if key == "label_column" and not can_hold_labels(column.type):
        raise DataError(f"{file.path}: the column {column.name!r} holds {column.type}, not texts or numbers. {remedy}")


def _list_names_by_key(source: Source) -> dict[str, tuple[str, ...]]:
    return {
        "text_column": source.text_column,
        "label_column": (source.label_column,),
        "id_column": (source.id_column,) if source.id_column else (),
        "group_column": (source.group_column,) if source.group_column else (),
        "time_column": (source.time_column,) if source.time_column else (),
    }

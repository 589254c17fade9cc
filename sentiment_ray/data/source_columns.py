"""Checks that a file of a source has the columns that the source names; reads headers and footers, no rows."""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from sentiment_ray.column_names import describe_missing_column, quote_names, resolve_column
from sentiment_ray.data.missing_columns import find_remedy, name_key
from sentiment_ray.data.readers.delimited import read_header
from sentiment_ray.data.readers.dialect import SEPARATORS
from sentiment_ray.data.readers.jsonl import read_keys
from sentiment_ray.data.readers.parquet import Footer
from sentiment_ray.data.source_config import Source
from sentiment_ray.data.source_file import SourceFile
from sentiment_ray.errors import DataError
from sentiment_ray.parquet_types import can_hold_labels, can_hold_texts, describe_other_type


def check_columns(file: SourceFile, source: Source, footer: Footer | None, copied: Sequence[str] = ()) -> list[str]:
    """Return the columns of a file; DataError if it lacks one, has it twice, or one cannot hold texts or labels.

    A Parquet file without a row may lack columns: nothing is read from it. The `copied` columns may be missing.
    """
    names_by_key = _list_names_by_key(source)
    expected = [*sum(names_by_key.values(), ()), *copied]
    schema = footer.schema if footer else None
    columns = footer.schema.names if footer else _read_text_columns(file, source, expected)
    has_rows = footer.row_groups if footer else columns or file.format != "jsonl"
    if file.format == "chat":
        if columns and "messages" not in columns:
            raise DataError(
                f"{file.path}: the key 'messages' of a chat is missing (found: {quote_names(columns)}). "
                "Pass --format jsonl if each line has a text and a label."
            )
    elif has_rows:
        for key, names in names_by_key.items():
            for name in names:
                column = _find_column(file, name, columns)
                if column is None:
                    missing = describe_missing_column(name, [*columns, *file.path_columns])
                    raise DataError(f"{file.path}: {missing} {find_remedy(file, key, name, columns, source, schema)}")
                if footer and column in columns:
                    _check_type(file, key, footer.schema, column, source)
    for name in copied:
        _find_column(file, name, columns)
    return columns


def recognise_chat(file: SourceFile, source: Source) -> SourceFile:
    """Return the file with the format chat if its format is not named and its first objects have `messages`.

    DataError if they have the text column of the source as well.
    """
    if file.format != "jsonl" or source.format != "auto":
        return file
    keys = read_keys(file.path, source.encoding)
    if "messages" not in keys:
        return file
    if resolve_column(source.text_column[0], keys):
        raise DataError(
            f"{file.path}: its objects have both the key 'messages' of a chat and the column "
            f"{source.text_column[0]!r}. Pass --format chat or --format jsonl, or set format for the source "
            f"{source.name!r}."
        )
    return replace(file, format="chat")


def find_types(
    names: Sequence[str], file: SourceFile, columns: list[str], footer: Footer | None
) -> dict[str, pa.DataType | None]:
    """Return those of `names` that a file or its path has as columns, each with its type; None for a text."""
    found = {name: resolve_column(name, [*columns, *file.path_columns]) for name in names}
    return {
        name: footer.schema.field(column).type if footer and column in columns else None
        for name, column in found.items()
        if column is not None
    }


def _read_text_columns(file: SourceFile, source: Source, expected: list[str]) -> list[str]:
    if file.format in SEPARATORS:
        return read_header(file.path, file.format, source, file.path_columns)
    return read_keys(file.path, source.encoding, expected=() if file.format == "chat" else expected)


def _find_column(file: SourceFile, name: str, columns: list[str]) -> str | None:
    """Return the column that a name means, of the file or of its path, or None; DataError if several have the name."""
    column = resolve_column(name, [*columns, *file.path_columns])
    if column is not None and columns.count(column) > 1:
        raise DataError(f"{file.path} has {columns.count(column)} columns {column!r}. Rename all but one of them.")
    return column


def _check_type(file: SourceFile, key: str, schema: pa.Schema, column: str, source: Source) -> None:
    kind, remedy = schema.field(column).type, name_key(key, source)
    if key == "text_column" and not can_hold_texts(kind):
        raise DataError(f"{file.path}: {describe_other_type(schema, column, remedy, used=source.columns)}.")
    if key == "label_column" and not can_hold_labels(kind):
        raise DataError(f"{file.path}: the column {column!r} holds {kind}, not texts or numbers. {remedy}")


def _list_names_by_key(source: Source) -> dict[str, tuple[str, ...]]:
    return {
        "text_column": source.text_column,
        "label_column": (source.label_column,),
        "id_column": (source.id_column,) if source.id_column else (),
        "group_column": (source.group_column,) if source.group_column else (),
        "time_column": (source.time_column,) if source.time_column else (),
    }

"""Checks that a file of a source has the columns that the source names; reads headers and footers, no rows."""

from dataclasses import replace

import pyarrow as pa

from sentiment_ray.column_names import describe_missing_column, quote_names, resolve_column
from sentiment_ray.data.readers.delimited import DELIMITERS, read_header
from sentiment_ray.data.readers.jsonl import read_keys
from sentiment_ray.data.readers.parquet import Footer, can_hold_labels, can_hold_texts
from sentiment_ray.data.source_config import Source
from sentiment_ray.data.source_file import SourceFile
from sentiment_ray.errors import DataError

CHAT_LAYOUT = 'Write each example as {"messages": [{"role": "user", "content": …}, {"role": "assistant", …}]}.'
REMEDIES = (
    ({"messages"}, "Pass --format chat."),
    ({"prompt", "completion"}, "Pass --text-column prompt --label-column completion."),
    ({"instruction", "input", "output"}, "Pass --text-column input --label-column output."),
    ({"preferred_output", "non_preferred_output"}, f"Preferences are no labels. {CHAT_LAYOUT}"),
    ({"conversations"}, CHAT_LAYOUT),
    ({"contents"}, CHAT_LAYOUT),
)
"""Keys of the layouts in which examples for fine-tuning are stored, and how a file with them is read."""


def check_columns(file: SourceFile, source: Source, footer: Footer | None) -> None:
    """Raise DataError for a file that lacks a column, has it twice, or whose column cannot hold texts or labels."""
    names_by_key = _list_names_by_key(source)
    columns = footer.schema.names if footer else _read_text_columns(file, names_by_key)
    if file.format == "chat":
        if columns and "messages" not in columns:
            raise DataError(
                f"{file.path}: the key 'messages' of a chat is missing (found: {quote_names(columns)}). "
                "Pass --format jsonl if each line has a text and a label."
            )
        return
    if file.format == "jsonl" and not columns:
        return
    for key, names in names_by_key.items():
        flag = "" if key == "id_column" else f"Pass --{key.replace('_', '-')}, or s"
        remedy = f"{flag or 'S'}et {key} for the source {source.name!r}."
        for name in names:
            column = _find_column(file, name, columns, remedy)
            if footer and column in columns:
                _check_type(file, key, footer.schema.field(column), remedy)


def recognise_chat(file: SourceFile, source: Source) -> SourceFile:
    """Return the file with the format chat if its format is not named and its first objects have `messages`.

    DataError if they have the text column of the source as well.
    """
    if file.format != "jsonl" or source.format != "auto":
        return file
    keys = read_keys(file.path)
    if "messages" not in keys:
        return file
    if resolve_column(source.text_column[0], keys):
        raise DataError(
            f"{file.path}: its objects have both the key 'messages' of a chat and the column "
            f"{source.text_column[0]!r}. Pass --format chat or --format jsonl, or set format for the source "
            f"{source.name!r}."
        )
    return replace(file, format="chat")


def _read_text_columns(file: SourceFile, names_by_key: dict[str, tuple[str, ...]]) -> list[str]:
    if file.format in DELIMITERS:
        return read_header(file.path, file.format)
    expected = () if file.format == "chat" else sum(names_by_key.values(), ())
    return read_keys(file.path, expected=expected)


def _find_column(file: SourceFile, name: str, columns: list[str], remedy: str) -> str:
    """Return the column that a name means, of the file or of its path; DataError if none does, or several."""
    known = [*columns, *file.path_columns]
    column = resolve_column(name, known)
    if column is None:
        remedy = next((better for keys, better in REMEDIES if keys <= {*columns}), remedy)
        raise DataError(f"{file.path}: {describe_missing_column(name, known)} {remedy}")
    if columns.count(column) > 1:
        raise DataError(f"{file.path} has {columns.count(column)} columns {column!r}. Rename all but one of them.")
    return column


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

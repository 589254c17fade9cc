"""Reads rows from CSV and TSV files.

A byte that is not in the file's encoding becomes a lone surrogate; rows.py finds it and sets the row aside.
"""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from operator import methodcaller
from pathlib import Path

from sentiment_ray.column_names import resolve_column
from sentiment_ray.data.readers.content import check_content
from sentiment_ray.data.readers.dialect import (
    BACKSLASH,
    QUOTE,
    Dialect,
    choose_dialect,
    suggest_keys,
    suggest_separator,
)
from sentiment_ray.data.readers.merged_rows import MergeFinder
from sentiment_ray.data.readers.read_task import ReadTask, Row
from sentiment_ray.data.readers.text_lines import explain_invalid_bytes, read_lines
from sentiment_ray.data.source_config import Source
from sentiment_ray.errors import DataError

MAX_CELL_CHARACTERS = 1 << 20
"""Longest cell of a row that is kept, and the most text that a quote without an end can swallow."""
FIRST_LINES, FIRST_CHARACTERS = 1000, 1 << 20
"""How much of a file is looked at to choose its dialect."""
WHOLE_NUMBER = re.compile(r"(-?\d+)\.0+")
"""A CSV may write a user's number 101 as 101.0. Both must be one group."""
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
"""A number as spreadsheets write it in the countries where semicolons separate the cells."""


@dataclass(frozen=True)
class _Beginning:
    """The first lines of a file, and what they tell."""

    dialect: Dialect
    header: list[str]
    lines: list[str]
    """From the header on."""
    number: int
    """The number of the header's line."""
    rest: Iterator[str]
    """The lines after `lines`."""


def read_delimited(task: ReadTask, source: Source) -> Iterator[Row]:
    """Yield the rows of a CSV or TSV file. A row with stray quotes or a wrong number of cells is defective."""
    file = _read_beginning(Path(task.path), task.format, source, task.path_columns)
    columns, num_cells = [*file.header, *task.path_columns], len(file.header)
    indexes = [_find_index(name, columns) if name else None for name in (source.id_column, source.split_column)]
    label_index = _find_index(source.label_column, columns)
    text_indexes = [_find_index(name, columns) for name in source.text_column]
    copied_indexes = [_find_optional_index(name, columns) for name in task.copied.names]
    path_values = list(task.path_columns.values())
    has_decimal_commas = file.dialect.separator == ";" and bool(source.stars or source.cut_points)
    merges = None
    if label_index < num_cells and file.dialect.quote:
        merges = MergeFinder(file.dialect, num_cells, label_index, _read_one_line_rows(file, task.format))
    rows = _read_cells(file, task.format, merges.are_rows if merges else None)
    next(rows)
    for number, cells, lines in rows:
        if isinstance(cells, str):
            yield Row(number, reason=cells + _suggest_key(file.dialect, source, lines))
        elif len(cells) == num_cells:
            values = [*cells, *path_values]
            row_id, split_value = [None if index is None else values[index] for index in indexes]
            whole = WHOLE_NUMBER.fullmatch(split_value.strip()) if split_value else None
            split_value = whole[1] if whole else split_value
            texts = tuple([values[index] for index in text_indexes])
            copied = tuple([None if index is None else values[index] for index in copied_indexes])
            label = values[label_index]
            if merges:
                merges.add_label(label)
            if has_decimal_commas and label and DECIMAL_COMMA.fullmatch(label.strip()):
                label = label.replace(",", ".")
            yield Row(number, row_id, texts, label, split_value, None, copied)
        elif len(cells) > 1 or cells[0].strip():
            reason = f"{len(cells)} cells where the header has {num_cells}"
            yield Row(number, reason=reason + _suggest_key(file.dialect, source, lines))


def read_header(path: Path, file_format: str, source: Source, path_columns: Mapping[str, str | None]) -> list[str]:
    """Return the column names of a CSV or TSV file.

    DataError if the file holds something else, if its header cannot be read, or if its first rows show that the source
    lacks a key.
    """
    check_content(path, file_format, source.encoding)
    file = _read_beginning(path, file_format, source, path_columns)
    columns = [*file.header, *path_columns]
    if file.lines and any(resolve_column(name, columns) is None for name in source.columns):
        separator = suggest_separator(next(filter(str.strip, file.lines), ""), source, path_columns)
        if separator:
            raise DataError(f"{path}: {separator}, or set the key for the source {source.name!r}.")
    has_more = next(file.rest, None) is not None
    fault = suggest_keys(file.dialect, source, file.lines, has_more=has_more)
    if fault:
        raise DataError(f"{path}: {fault}, or set the key for the source {source.name!r}.")
    return file.header


def _read_beginning(path: Path, file_format: str, source: Source, path_columns: Mapping[str, str | None]) -> _Beginning:
    rest = map(methodcaller("decode", "utf-8", "surrogateescape"), read_lines(path, source.encoding))
    lines: list[str] = []
    num_characters = 0
    for line in islice(rest, FIRST_LINES):
        lines.append(line)
        num_characters += len(line)
        if num_characters > FIRST_CHARACTERS:
            break
    dialect, num_above = choose_dialect(lines, file_format, source, path_columns)
    beginning = _Beginning(dialect, [], lines[num_above:], 1 + num_above, rest)
    rows = _read_cells(replace(beginning, rest=iter(())), file_format)
    header = next((cells for _, cells, _ in rows), [])
    if isinstance(header, str):
        raise DataError(f"{path}: the header cannot be read ({header}). Put the column names on the first line.")
    try:
        "".join(header).encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{path}: its header is {explain_invalid_bytes(path, source.encoding)}. Name the encoding of the file with "
            f"--encoding, or set the key for the source {source.name!r}."
        ) from None
    if not header:
        raise DataError(f"{path} is empty. Its first line must hold the column names.")
    return replace(beginning, header=header)


def _read_cells(
    file: _Beginning, file_format: str, are_rows: Callable[[list[str]], bool] | None = None
) -> Iterator[tuple[int, list[str] | str, list[str]]]:
    """Yield the number of each row's first line, its cells or the reason why it has none, and its lines.

    Blank lines are left out. An unclosed quote takes in the following lines until the parser fails, or until a later
    line closes the quote. If the parser fails, or if `are_rows` recognises the lines as rows of their own, only the
    first line is defective, and the lines after it are read again.
    """
    csv.field_size_limit(MAX_CELL_CHARACTERS)  # at the default of 131,072 a longer review would break up into rows
    pushed_back = deque(file.lines)
    taken: list[str] = []

    def take_lines() -> Iterator[str]:
        while line := pushed_back.popleft() if pushed_back else next(file.rest, ""):
            taken.append(line)
            yield line

    number, reader = file.number, file.dialect.read_rows(take_lines())
    while True:
        taken.clear()
        reason = None
        cells: list[str] = []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            is_return = str(error).startswith("new-line character")
            reason = "a carriage return outside quotes" if is_return else str(error)
        if len(taken) > 1 and (reason or (are_rows and are_rows(taken))):
            reason = reason or "a quote has no end before the next row"
            pushed_back.extendleft(reversed(taken[1:]))
            del taken[1:]
        if reason:
            reader = file.dialect.read_rows(take_lines())
            yield number, f"not {file_format.upper()}: {reason}", taken
        elif cells:
            yield number, cells, taken
        number += len(taken)


def _read_one_line_rows(file: _Beginning, file_format: str) -> Iterator[list[str]]:
    """Yield the cells of those of the first rows that have one line."""
    rows = islice(_read_cells(replace(file, rest=iter(())), file_format), 1, None)
    return (cells for _, cells, lines in rows if isinstance(cells, list) and len(lines) == 1)


def _find_index(name: str, columns: list[str]) -> int:
    return columns.index(resolve_column(name, columns) or name)


def _find_optional_index(name: str, columns: list[str]) -> int | None:
    column = resolve_column(name, columns)
    return None if column is None else columns.index(column)


def _suggest_key(dialect: Dialect, source: Source, lines: list[str]) -> str:
    """Return which key may read a defective row, to follow its reason; empty if its lines show nothing."""
    text = "".join(lines)
    if dialect.quote and source.escape is None and BACKSLASH + dialect.quote in text:
        return " (with a backslash before a quote: set escape)"
    if dialect.quote is None and source.quote is None and (text.startswith(QUOTE) or dialect.separator + QUOTE in text):
        return " (with a quote before a cell: set quote)"
    return ""

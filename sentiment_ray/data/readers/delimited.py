"""Reads rows from CSV and TSV files.

A byte that is not UTF-8 becomes a lone surrogate; rows.py finds it and sets the row aside.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from sentiment_ray.column_names import resolve_column
from sentiment_ray.data.readers.read_task import ReadTask, Row
from sentiment_ray.data.readers.text_lines import read_lines
from sentiment_ray.data.source_config import Source
from sentiment_ray.errors import DataError

DELIMITERS = {"csv": ",", "tsv": "\t"}
MAX_CELL_CHARACTERS = 1 << 20
"""Longest cell of a row that is kept, and the most text that a quote without an end can swallow."""
WHOLE_NUMBER = re.compile(r"(-?\d+)\.0+")
"""A CSV may write a user's number 101 as 101.0. Both must be one group."""


def read_delimited(task: ReadTask, source: Source) -> Iterator[Row]:
    """Yield the rows of a CSV or TSV file. A row with stray quotes or a wrong number of cells is defective."""
    path = Path(task.path)
    rows = _read_cells(path, task.format)
    header = _find_header(rows, path)
    columns = [*header, *task.path_columns]
    names = (source.id_column, source.label_column, source.split_column)
    indexes = [_find_index(name, columns) if name else None for name in names]
    text_indexes = [_find_index(name, columns) for name in source.text_column]
    copied_indexes = [_find_optional_index(name, columns) for name in task.copied.names]
    path_values = list(task.path_columns.values())
    for number, cells in rows:
        if isinstance(cells, str):
            yield Row(number, reason=cells)
        elif cells and len(cells) != len(header):
            yield Row(number, reason=f"{len(cells)} cells where the header has {len(header)}")
        elif cells:
            values = [*cells, *path_values]
            row_id, label, split_value = [None if index is None else values[index] for index in indexes]
            whole = WHOLE_NUMBER.fullmatch(split_value.strip()) if split_value else None
            split_value = whole[1] if whole else split_value
            texts = tuple([values[index] for index in text_indexes])
            copied = tuple([None if index is None else values[index] for index in copied_indexes])
            yield Row(number, row_id, texts, label, split_value, None, copied)


def read_header(path: Path, file_format: str) -> list[str]:
    """Return the column names of a CSV or TSV file; DataError if its header cannot be read."""
    return _find_header(_read_cells(path, file_format), path)


def _find_index(name: str, columns: list[str]) -> int:
    return columns.index(resolve_column(name, columns) or name)


def _find_optional_index(name: str, columns: list[str]) -> int | None:
    column = resolve_column(name, columns)
    return None if column is None else columns.index(column)


def _find_header(rows: Iterator[tuple[int, list[str] | str]], path: Path) -> list[str]:
    header = next((cells for _, cells in rows if cells), [])
    if isinstance(header, str):
        raise DataError(f"{path}: the header cannot be read ({header}). Put the column names on the first line.")
    try:
        "".join(header).encode()
    except UnicodeEncodeError:
        raise DataError(f"{path}: the header is not UTF-8. Convert the file to UTF-8.") from None
    if not header:
        raise DataError(f"{path} is empty. Its first line must hold the column names.")
    return header


def _read_cells(path: Path, file_format: str) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the number of each row's first line, and its cells or the reason why it has none.

    An unclosed quote takes in the following lines until the parser fails. Then only its own line is defective, and the
    lines after it are read again. If a later line closes the quote, all lines between are one cell, as in RFC 4180.
    """
    csv.field_size_limit(MAX_CELL_CHARACTERS)  # at the default of 131,072 a longer review would break up into rows
    lines = read_lines(path)
    pushed_back: deque[str] = deque()
    taken: list[str] = []

    def take_lines() -> Iterator[str]:
        while line := pushed_back.popleft() if pushed_back else next(lines, b"").decode(errors="surrogateescape"):
            taken.append(line)
            yield line

    number, reader = 1, csv.reader(take_lines(), delimiter=DELIMITERS[file_format], strict=True)
    while True:
        taken.clear()
        try:
            cells: list[str] | str = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells = f"not {file_format.upper()}: {error}"
            pushed_back.extendleft(reversed(taken[1:]))
            del taken[1:]
            reader = csv.reader(take_lines(), delimiter=DELIMITERS[file_format], strict=True)
        yield number, cells
        number += len(taken)

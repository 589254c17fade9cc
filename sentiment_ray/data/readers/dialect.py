"""Chooses how the cells of a CSV or TSV file are separated and quoted; opens no file."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sentiment_ray.column_names import resolve_column
from sentiment_ray.data.readers.escapes import double_escaped_quotes, keep_other_escapes
from sentiment_ray.data.source_config import Source
from sentiment_ray.data.text_format import NONE

SEPARATORS = {"csv": ",", "tsv": "\t"}
OTHER_SEPARATORS = (",", ";", "\t", "|")
QUOTE, BACKSLASH = '"', "\\"
SEPARATOR_LINE = re.compile(r'\ufeff?"?sep *= *(.)"?\r?\n?', re.IGNORECASE)
"""The line above the header with which Excel names the separator."""
QUOTED_CELL = re.compile(r'"(?:[^"]|"")*"')


@dataclass(frozen=True)
class Dialect:
    """The special characters of a CSV or TSV file. Without a quote, a quote is a character like any other."""

    separator: str
    quote: str | None = QUOTE
    escape: str | None = None
    """The character before a quote inside a quoted cell or, without a quote, before a separator, that makes it text."""
    skips_blanks: bool = False
    """Whether blanks behind a separator are not part of the next cell, so that a quote may follow them."""

    def read_rows(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """Return the cells of each row; of a blank line, none. The iterator raises csv.Error at misplaced quotes."""
        if self.quote is None and self.escape is None:
            return map(self.split, lines)
        if self.quote is None:
            lines = keep_other_escapes(lines, separator=self.separator, escape=str(self.escape))
            return csv.reader(
                lines, delimiter=self.separator, escapechar=self.escape, quoting=csv.QUOTE_NONE, strict=True
            )
        if self.escape:
            lines = double_escaped_quotes(lines, separator=self.separator, quote=self.quote, escape=self.escape)
        return csv.reader(
            lines,
            delimiter=self.separator,
            quotechar=self.quote,
            skipinitialspace=self.skips_blanks,
            strict=True,
        )

    def split(self, line: str) -> list[str]:
        """Return the cells of a line in which quotes have no meaning; of a blank line, none."""
        line = line.rstrip("\r\n")
        return line.split(self.separator) if line else []


def choose_dialect(
    lines: Sequence[str], file_format: str, source: Source, path_columns: Mapping[str, str | None]
) -> tuple[Dialect, int]:
    """Return the dialect of a file from its first lines, and the number of lines above its header: 1 for `sep=;`.

    The source's keys decide, then the line `sep=;`, then the header: if it lacks wanted columns, but has all of them
    with another usual separator, that one is used. Blanks behind separators are skipped where quotes follow them.
    """
    named = SEPARATOR_LINE.fullmatch(lines[0]) if lines else None
    header_lines = lines[1:] if named else lines
    own = SEPARATORS[file_format]
    likely = [*([named[1]] if named else []), own, *OTHER_SEPARATORS]
    separators = [source.separator] if source.separator else list(dict.fromkeys(likely))
    widths: dict[Dialect, int] = {}
    for separator in separators:
        dialect = _make_dialect(separator, source)
        header = _read_header(dialect, header_lines)
        columns = [*header, *path_columns]
        if all(resolve_column(name, columns) is not None for name in source.columns):
            dialect = replace(dialect, skips_blanks=_has_blanks_before_quotes(dialect, header_lines))
            return dialect, len(lines) - len(header_lines)
        widths[dialect] = len(header)
    usual = next(iter(widths))
    chosen = max(widths, key=widths.__getitem__) if widths[usual] == 1 else usual  # for the names in a message
    return chosen, len(lines) - len(header_lines)


def suggest_separator(header: str, source: Source, path_columns: Mapping[str, str | None]) -> str | None:
    """Return which other character separates the columns that are wanted in a header, and the key; None if none does.

    `header` is the line, in which the separators that are tried unasked do not give these columns.
    """
    tried = {source.separator} if source.separator else {*OTHER_SEPARATORS}
    for mark in dict.fromkeys(header):
        names = [name.strip("\"' \r\n") for name in header.split(mark)]
        is_mark = mark not in tried and not mark.isalnum() and mark not in "_ \"'\r\n"
        if not is_mark or not all(resolve_column(name, [*names, *path_columns]) for name in source.columns):
            continue
        if 2 * mark in header:
            return f"its columns seem to be separated by {2 * mark!r}. Replace that by one character, such as a tab"
        shown = "tab" if mark == "\t" else mark if mark.isprintable() else f"\\x{ord(mark):02x}"
        return f"its columns seem to be separated by {mark!r}. Pass --separator '{shown}'"
    return None


def suggest_keys(dialect: Dialect, source: Source, lines: Sequence[str], *, has_more: bool) -> str | None:
    """Return what speaks for another quote or escape than the dialect's, and which keys decide; None if nothing does.

    `lines` are the header and the first rows; `has_more` tells whether the last row may go on after them.
    """
    text = "".join(lines)
    if dialect.quote is None and source.quote is None and QUOTE in text:
        quoted = replace(dialect, quote=QUOTE)
        is_quoted = _fits(quoted, lines, has_more) and (
            not _fits(dialect, lines, has_more, len(_read_header(quoted, lines))) or _shows_quoting(dialect, lines)
        )
        if is_quoted:
            return "its cells seem to be in quotes. Pass --quote '\"' if they are, or --quote none if quotes are text"
    if dialect.quote and source.escape is None and BACKSLASH + dialect.quote in text:
        escaped = replace(dialect, escape=BACKSLASH)
        if not _fits(dialect, lines, has_more) and _fits(escaped, lines, has_more):
            return "it has backslashes before quotes, as Spark writes them. Pass --escape '\\', or --escape none"
    return None


def _make_dialect(separator: str, source: Source) -> Dialect:
    quote = source.quote or (NONE if separator == "\t" else QUOTE)
    escape = None if source.escape in (NONE, quote) else source.escape
    return Dialect(separator, None if quote == NONE else quote, escape)


def _read_header(dialect: Dialect, lines: Iterable[str]) -> list[str]:
    try:
        return next((cells for cells in dialect.read_rows(lines) if cells), [])
    except csv.Error:
        return []


def _fits(dialect: Dialect, lines: Iterable[str], has_more: bool, num_cells: int = 0) -> bool:
    """Whether every row of some lines has as many cells as the first, or `num_cells`, and well-placed quotes."""
    try:
        for cells in dialect.read_rows(lines):
            num_cells = num_cells or len(cells)
            if cells and len(cells) != num_cells:
                return False
    except csv.Error as error:
        return has_more and str(error) == "unexpected end of data"
    return True


def _has_blanks_before_quotes(dialect: Dialect, lines: Sequence[str]) -> bool:
    """Whether blanks are between separators and quotes in most of the rows, and behind the separators of the header."""
    header, *rows = [*filter(str.strip, lines)] or [""]
    if not dialect.quote or dialect.separator.isspace() or f"{dialect.separator} " not in header:
        return False
    quoted = [row for row in rows if f"{dialect.separator} {dialect.quote}" in row]
    return 2 * len(quoted) > len(rows) > 0


def _shows_quoting(dialect: Dialect, lines: Iterable[str]) -> bool:
    """Whether a quote is doubled inside a cell in quotes, or most rows have a cell in quotes.

    A quote in another cell shows that quotes are text: who puts cells in quotes does so with each that has a quote.
    """
    rows = [[cell for cell in cells if QUOTE in cell] for cells in dialect.read_rows(lines) if cells]
    cells = [cell for row in rows for cell in row]
    if not all(map(QUOTED_CELL.fullmatch, cells)):
        return False
    return any('""' in cell[1:-1] for cell in cells) or 2 * sum(map(bool, rows)) > len(rows)

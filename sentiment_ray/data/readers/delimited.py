"""Reads rows out of CSV, TSV and JSON Lines files, plain, .gz or .zst; knows lines, not tables.

A byte of a CSV that is not UTF-8 becomes a lone surrogate, by which reading.py knows the row that it sets aside.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from sentiment_ray.data.config import Source
from sentiment_ray.data.readers.units import Row, Unit
from sentiment_ray.errors import DataError

SEPARATORS = {"csv": ",", "tsv": "\t"}
COMPRESSIONS = (".gz", ".zst")
LONGEST_LINE_BYTES = 8 << 20
"""More than any text that is kept takes as JSON, where a character may be written with six."""
LONGEST_FIELD = 1 << 20
"""Characters of a CSV's cell, no more of which is kept: also what a quote that is never closed takes along at most."""
WHOLE_NUMBER = re.compile(r"(-?\d+)\.0+")
"""How a CSV may spell a number that a Parquet file has as 101: one user must not be two groups."""
HEAD_LINES, LONGEST_HEAD = 100, 10_000
"""Objects whose keys are looked at, and until when more are for one that is wanted: many writers leave out nulls."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_separated(unit: Unit, source: Source) -> Iterator[Row]:
    """Yield the rows of a CSV or TSV; one with stray quotes or other cells than its header is defective."""
    path = Path(unit.path)
    rows = _separated(path, unit.format)
    header = _header(rows, path)
    columns = [*header, *unit.partition]
    names = (source.id_column, source.label_column, source.key_column)
    places = [columns.index(name) if name else None for name in names]
    texts, from_path = [columns.index(name) for name in source.text_column], list(unit.partition.values())
    for number, cells in rows:
        if isinstance(cells, str):
            yield Row(number, reason=cells)
        elif cells and len(cells) != len(header):
            yield Row(number, reason=f"{len(cells)} cells where the header has {len(header)}")
        elif cells:
            values = [*cells, *from_path]
            identity, label, key = [None if place is None else values[place] for place in places]
            whole = WHOLE_NUMBER.fullmatch(key.strip()) if key else None
            key = whole[1] if whole else key
            yield Row(number, identity, tuple([values[place] for place in texts]), label, key)


def read_objects(unit: Unit, source: Source) -> Iterator[Row]:
    """Yield the rows of a JSON Lines file, one object a line."""
    for number, found, reason in json_lines(Path(unit.path)):
        if found is None:
            yield Row(number, reason=reason)
        else:
            value = unit.partition | found if unit.partition else found
            identity = value.get(source.id_column) if source.id_column else None
            texts = tuple([value.get(name) for name in source.text_column])
            key = value.get(source.key_column) if source.key_column else None
            yield Row(number, identity, texts, value.get(source.label_column), key)


def columns_of_text_file(path: Path, file_format: str, *, wanted: Iterable[str] = ()) -> list[str]:
    """Return the column names in a CSV's header, or the keys of the first objects in a JSON Lines or chat file.

    Keys that are `wanted` are looked for farther. An empty list when a file begins with no object at all; DataError
    when there is no header to read.
    """
    if file_format in SEPARATORS:
        return _header(_separated(path, file_format), path)
    keys: dict[str, None] = {}
    for place, (_, value, _) in enumerate(islice(json_lines(path), LONGEST_HEAD), start=1):
        keys |= dict.fromkeys(value or ())
        if place >= HEAD_LINES and keys.keys() >= set(wanted):
            break
    return list(keys)


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | None, str | None]]:
    """Yield each line's number and JSON object, or the reason why it holds none; blank lines are no rows."""
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        value, reason = None, "not a JSON object"
        try:
            value = json.loads(line.decode())
        except UnicodeDecodeError:
            reason = "invalid UTF-8"
        except (ValueError, RecursionError):
            if len(line) == LONGEST_LINE_BYTES:
                reason = f"line longer than {LONGEST_LINE_BYTES} bytes"
        yield (number, value, None) if isinstance(value, dict) else (number, None, reason)


def _header(rows: Iterator[tuple[int, list[str] | str]], path: Path) -> list[str]:
    header = next((cells for _, cells in rows if cells), [])
    if isinstance(header, str):
        raise DataError(f"{path}: its header cannot be read ({header}). Put the column names first.")
    try:
        "".join(header).encode()
    except UnicodeEncodeError:
        raise DataError(f"{path}: its header is not UTF-8. Convert the file to UTF-8.") from None
    if not header:
        raise DataError(f"{path} is empty: its first line must hold the column names.")
    return header


def _separated(path: Path, file_format: str) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the line that each row begins at, and its cells or the reason why it has none.

    A quote that is not closed takes the lines after it along until something does not fit: only its own line is
    defective then, and those after it are read again. Where a later line closes it, the lines between are one cell, as
    RFC 4180 has it.
    """
    csv.field_size_limit(LONGEST_FIELD)  # the lines of a longer review would become rows, at 131,072 by default
    lines = _lines(path)
    again: deque[str] = deque()
    taken: list[str] = []

    def take() -> Iterator[str]:
        while line := again.popleft() if again else next(lines, b"").decode(errors="surrogateescape"):
            taken.append(line)
            yield line

    number, reader = 1, csv.reader(take(), delimiter=SEPARATORS[file_format], strict=True)
    while True:
        taken.clear()
        try:
            cells: list[str] | str = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells = f"not {file_format.upper()}: {error}"
            again.extendleft(reversed(taken[1:]))
            del taken[1:]
            reader = csv.reader(take(), delimiter=SEPARATORS[file_format], strict=True)
        yield number, cells
        number += len(taken)


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines, of one longer than LONGEST_LINE_BYTES only its beginning, so that none fills the memory."""
    try:
        with _open(path) as file:
            line = file.readline(LONGEST_LINE_BYTES).removeprefix(BYTE_ORDER_MARK)
            if line.startswith(UTF_16_MARKS):
                raise DataError(f"{path} is written in UTF-16. Convert it: iconv -f UTF-16 -t UTF-8.")
            while line:
                yield line
                while len(line) == LONGEST_LINE_BYTES and not line.endswith(b"\n"):
                    line = file.readline(LONGEST_LINE_BYTES)
                line = file.readline(LONGEST_LINE_BYTES)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read to its end ({error}). Restore the file, or leave it out.") from error


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".zst":
        return io.BufferedReader(pa.input_stream(path, compression="zstd"))
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]

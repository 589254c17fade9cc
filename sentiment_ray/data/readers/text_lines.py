"""Opens a text file, plain or compressed, and reads its lines in bounded memory; knows no format."""

import bz2
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from sentiment_ray.data.readers.encodings import check_marks, get_error_handler, guess_encoding
from sentiment_ray.data.readers.faults import refuse_fault
from sentiment_ray.errors import DataError

MAX_LINE_BYTES = 8 << 20
"""More than the longest text that is kept needs in JSON, where a character can take six bytes."""
BUFFER_BYTES = 1 << 16
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SIGNATURES = {".gz": (b"\x1f\x8b",), ".bz2": (b"BZh",), ".zst": (b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18")}
"""How a compressed file begins, by its ending. pzstd writes the second beginning of .zst."""
EXAMINED_LINES, MAX_BAD_LINES = 100_000, 200
"""How much of a file is read to recognise its encoding: this many lines, or fewer if this many are not UTF-8."""


def read_lines(path: Path, encoding: str | None = None) -> Iterator[bytes]:
    """Yield the lines in UTF-8 with their line ends. A longer line than MAX_LINE_BYTES is cut, to bound the memory.

    What is not in the encoding stays as it is, and makes the line invalid UTF-8. Lines end at line feeds or, in a file
    without line feeds, at carriage returns, as old Macs wrote. DataError if the first bytes show another encoding, or
    if the file cannot be read to its end.
    """
    with open_bytes(path) as file:
        start = file.peek(BUFFER_BYTES)
        check_marks(path, start, encoding)
        line_end = _find_line_end(start, encoding)
        if encoding is None and line_end == "\n":
            yield from _cut_lines(file, b"\n", BYTE_ORDER_MARK)
        else:
            errors = get_error_handler(encoding)
            text = io.TextIOWrapper(file, encoding or "utf-8", errors, newline=line_end)
            yield from (line.encode("utf-8", errors) for line in _cut_lines(text, line_end, "\ufeff"))


@contextmanager
def open_bytes(path: Path) -> Iterator["io.BufferedReader[Any]"]:
    """Open a file and decompress it by its ending; DataError if it is damaged, cut off or not compressed.

    PassingFault if this machine cannot read it now.
    """
    try:
        with _open(path) as file:
            yield file
    except (OSError, EOFError, zlib.error, pa.ArrowException, UnicodeError) as error:
        refuse_fault(error, path)
        raise DataError(f"{path} cannot be read to its end ({error}). Restore the file, or leave it out.") from error


@contextmanager
def open_text(path: Path, encoding: str | None) -> Iterator[IO[str]]:
    """Open a file and decode it, without a byte order mark; DataError as `read_lines`."""
    with open_bytes(path) as file:
        check_marks(path, file.peek(BUFFER_BYTES), encoding)
        name = "utf-8-sig" if encoding in (None, "utf-8") else encoding
        yield io.TextIOWrapper(file, name, get_error_handler(encoding))


def explain_invalid_bytes(path: Path, encoding: str | None) -> str:
    """Return the reason why rows with such bytes are set aside, with the encoding that the file probably has."""
    guess = None if encoding else guess_file_encoding(path)
    return f"invalid UTF-8 (probably {guess}: set encoding)" if guess else f"invalid {encoding or 'UTF-8'}"


@lru_cache(maxsize=64)  # many rows of a file have the same reason
def guess_file_encoding(path: Path) -> str | None:
    """Return the probable encoding of a file with lines that are not UTF-8; None if there are none, or no guess."""
    bad_lines = (line for line in islice(read_lines(path), EXAMINED_LINES) if not _is_utf8(line))
    sample = b"".join(line[:BUFFER_BYTES] for line in islice(bad_lines, MAX_BAD_LINES))
    return guess_encoding(sample) if sample else None


def _open(path: Path) -> "io.BufferedReader[Any]":
    suffix = path.suffix.lower()
    file = io.BufferedReader(io.FileIO(path), BUFFER_BYTES)
    start = file.peek(BUFFER_BYTES)
    if suffix not in SIGNATURES or not start:
        return file
    file.close()
    if not start.startswith(SIGNATURES[suffix]):
        raise DataError(
            f"{path} is not compressed as its ending {path.suffix} says. Remove the ending, or restore the file."
        )
    if suffix == ".zst":
        return io.BufferedReader(pa.input_stream(path, compression="zstd"), BUFFER_BYTES)
    return io.BufferedReader((gzip.open if suffix == ".gz" else bz2.open)(path), BUFFER_BYTES)


def _find_line_end(start: bytes, encoding: str | None) -> str:
    text = start.decode(encoding or "utf-8", "replace")
    return "\r" if "\r" in text and "\n" not in text else "\n"


def _cut_lines(file: Any, line_end: Any, mark: Any) -> Iterator[Any]:
    """Yield the lines of a file of bytes or of characters, the first one without a byte order mark."""
    line = file.readline(MAX_LINE_BYTES).removeprefix(mark)
    while line:
        yield line
        while len(line) == MAX_LINE_BYTES and not line.endswith(line_end):
            line = file.readline(MAX_LINE_BYTES)
        line = file.readline(MAX_LINE_BYTES)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True

"""Reads the lines of a text file, plain, .gz or .zst, in bounded memory; knows no format."""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa

from sentiment_ray.errors import DataError

MAX_LINE_BYTES = 8 << 20
"""More than the longest text that is kept needs in JSON, where a character can take six bytes."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines with their line ends. A line longer than MAX_LINE_BYTES is cut there, to bound the memory.

    DataError if the file is in UTF-16 or cannot be read to its end.
    """
    try:
        with _open(path) as file:
            line = file.readline(MAX_LINE_BYTES).removeprefix(BYTE_ORDER_MARK)
            if line.startswith(UTF_16_MARKS):
                raise DataError(f"{path} is in UTF-16. Convert it to UTF-8: iconv -f UTF-16 -t UTF-8.")
            while line:
                yield line
                while len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                    line = file.readline(MAX_LINE_BYTES)
                line = file.readline(MAX_LINE_BYTES)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read to its end ({error}). Restore the file, or leave it out.") from error


def _open(path: Path) -> IO[bytes]:
    if path.suffix.lower() == ".zst":
        return io.BufferedReader(pa.input_stream(path, compression="zstd"))
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]

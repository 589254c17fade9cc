"""Reads an uploaded file line by line: JSON objects, bounded in length and depth. Only LF ends a line.

U+2028, a lone CR and the like are part of a line, as JSON has them inside of strings.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

UTF8_MARK = b"\xef\xbb\xbf"
FOREIGN_STARTS = {
    b"\x1f\x8b": "compressed with gzip",
    b"PK\x03\x04": "a ZIP archive",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"PAR1": "a Parquet file",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""What a file is that begins with these bytes."""


class InvalidLineError(Exception):
    """A line is no JSON object; `number` counts the lines from 1, and `reason` says what it is, without its content."""

    def __init__(self, number: int, reason: str, *, is_encoding: bool = False) -> None:
        super().__init__(f"line {number}: {reason}")
        self.number, self.reason, self.is_encoding = number, reason, is_encoding


def read_lines(path: Path, *, max_line_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the bytes of each line that is not blank; a byte order mark of UTF-8 is left out.

    InvalidLineError for a line that is too long, and for a file that is compressed or in UTF-16.
    """
    with path.open("rb") as file:
        number = 0
        while line := file.readline(max_line_bytes + 1):
            number += 1
            if len(line) > max_line_bytes and not line.endswith(b"\n"):
                raise InvalidLineError(number, f"is longer than {max_line_bytes} bytes")
            if number == 1:
                _check_start(line)
                line = line.removeprefix(UTF8_MARK)
            if not line.isspace():
                yield number, line


def parse_object(number: int, line: bytes) -> dict[str, Any]:
    """Return the JSON object of a line; InvalidLineError when it is none."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _explain(number, line, error) from None
    if isinstance(value, dict):
        return value
    kind = "an array" if isinstance(value, list) else "a value of another kind"
    raise InvalidLineError(number, f"is {kind}, not an object: write each example as an object on a line of its own")


def _check_start(line: bytes) -> None:
    kind = next((kind for start, kind in FOREIGN_STARTS.items() if line.startswith(start)), None)
    if kind:
        raise InvalidLineError(1, f"shows that the file is {kind}: upload plain UTF-8", is_encoding=True)


def _explain(number: int, line: bytes, error: orjson.JSONDecodeError) -> InvalidLineError:
    try:
        line.decode()
    except UnicodeDecodeError as fault:
        reason = f"is not UTF-8 (byte {fault.start} is 0x{line[fault.start]:02x}): save the file as UTF-8"
        return InvalidLineError(number, reason, is_encoding=True)
    if line.strip() in (b"{", b"["):
        return InvalidLineError(number, "begins a value that ends on a later line: write each example on one line")
    return InvalidLineError(number, f"is no JSON (column {error.colno})")

"""Checks that a text file holds what its name or its format says, by its first bytes."""

import codecs
from pathlib import Path

from sentiment_ray.data.readers.text_lines import BUFFER_BYTES, open_bytes
from sentiment_ray.errors import DataError
from sentiment_ray.input_files.content import describe_content, is_json
from sentiment_ray.input_files.names import COMPRESSED_SUFFIXES

MIN_UTF8_BYTES = 12
"""Bytes outside ASCII from which on text that is valid UTF-8 is not taken for text in another encoding."""


def read_start(path: Path) -> bytes:
    """Return the first bytes of a file, decompressed by its ending."""
    with open_bytes(path) as file:
        return file.peek(BUFFER_BYTES)


def check_content(path: Path, file_format: str, encoding: str | None) -> None:
    """Raise DataError if the first bytes of a text file show another format, or UTF-8 in spite of `encoding`."""
    start = read_start(path)
    found = describe_content(start)
    if found and found.startswith("compressed") and path.suffix.lower() in COMPRESSED_SUFFIXES:
        found = "compressed twice. Unpack it once"
    if not found and file_format in ("csv", "tsv") and is_json(start):
        found = "JSON. Pass --format jsonl, or end its name in .jsonl"
    if found:
        raise DataError(f"{path} is {found}.")
    if encoding and not encoding.startswith("utf") and _is_certainly_utf8(start):
        raise DataError(
            f"{path} is in UTF-8, but encoding is {encoding!r}. Leave encoding out, or name the file in its own source."
        )


def _is_certainly_utf8(start: bytes) -> bool:
    """Whether bytes are UTF-8, up to a character that is cut off, and many are outside ASCII."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return len(start) - sum(map(str.isascii, text)) > MIN_UTF8_BYTES

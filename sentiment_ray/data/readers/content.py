"""Says what a file holds that is not what its name or its format says, by its first bytes."""

import codecs
import re
from pathlib import Path

from sentiment_ray.data.readers.text_lines import BUFFER_BYTES, open_bytes
from sentiment_ray.errors import DataError

SIGNATURES = (
    (rb"PAR1[\0-\x1f]", "a Parquet file. Pass --format parquet, or end its name in .parquet"),
    (rb"\x1f\x8b", "compressed with gzip. End its name in .gz"),
    (rb"\x28\xb5\x2f\xfd", "compressed with zstd. End its name in .zst"),
    (rb"BZh\d1AY&SY", "compressed with bzip2. End its name in .bz2"),
    (rb"\xfd7zXZ\0", "compressed with xz. Unpack it: xz -d"),
    (rb"\x04\x22\x4d\x18", "compressed with lz4. Unpack it: lz4 -d"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive. Unpack it"),
    (rb"PK\x03\x04(?s:.*)(xl/|\[Content_Types\]\.xml)", "an Excel workbook. Save its sheet as CSV UTF-8"),
    (rb"PK\x03\x04", "a ZIP archive. Unpack it"),
    (rb"(?s:.{257})ustar", "a tar archive. Unpack it"),
    (rb"\xd0\xcf\x11\xe0", "a workbook of an old Excel. Save its sheet as CSV UTF-8"),
    (rb"ORC[\0-\x1f]", "an ORC file. Convert it to Parquet"),
    (rb"Obj\x01", "an Avro file. Convert it to Parquet"),
    (rb"ARROW1\0|\xff\xff\xff\xff[^\xff]", "an Arrow file. Convert it to Parquet"),
    (rb"FEA1\0", "a Feather file. Convert it to Parquet"),
    (rb"SQLite format 3\0", "an SQLite database. Export its table as CSV"),
    (rb"\x80[\x02-\x05][\0-\xff]", "a Python pickle, which can run code when it is opened. Take another format"),
    (rb"%PDF-", "a PDF document. Name a table"),
    (rb"\{\\rtf", "a rich text document. Save it as plain text"),
    (rb"version https://git-lfs", "a pointer of Git LFS, not the file itself. Fetch the file: git lfs pull"),
    (
        rb"\s*<(!doctype|html|head|body|\?xml)",
        "a web page or XML, as servers send it for an error. Download the file again",
    ),
)
"""How a file begins, what it is, and what to do."""
JSON_START = re.compile(rb'\s*(\{\s*["}]|\[\s*[\[{"\]])')
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
    if not found and file_format in ("csv", "tsv") and JSON_START.match(start.removeprefix(codecs.BOM_UTF8)):
        found = "JSON. Pass --format jsonl, or end its name in .jsonl"
    if found:
        raise DataError(f"{path} is {found}.")
    if encoding and not encoding.startswith("utf") and _is_certainly_utf8(start):
        raise DataError(
            f"{path} is in UTF-8, but encoding is {encoding!r}. Leave encoding out, or name the file in its own source."
        )


def suggest_format(start: bytes) -> str | None:
    """Return what to do with a file of which the name tells no format, or a wrong one; None if it is not recognised."""
    found = describe_content(start)
    if found:
        return f"It is {found}"
    return "It is JSON. Pass --format jsonl" if JSON_START.match(start.removeprefix(codecs.BOM_UTF8)) else None


def describe_content(start: bytes) -> str | None:
    """Return what a file is and what to do, for a file that is recognised by its first bytes; else None."""
    start = start.removeprefix(codecs.BOM_UTF8)
    return next((found for pattern, found in SIGNATURES if re.match(pattern, start, re.IGNORECASE)), None)


def _is_certainly_utf8(start: bytes) -> bool:
    """Whether bytes are UTF-8, up to a character that is cut off, and many are outside ASCII."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return len(start) - sum(map(str.isascii, text)) > MIN_UTF8_BYTES

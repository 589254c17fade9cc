"""Says what a file of data is, by its first bytes, and what to do with one that is not read; opens no file."""

import codecs
import re
import zlib

START_BYTES = 1 << 16
"""How much of the beginning of a file is enough to recognise it."""
SIGNATURES = (
    (rb"PAR1[\0-\x1f]", "a Parquet file. End its name in .parquet"),
    (rb"\x1f\x8b", "compressed with gzip. End its name in .gz"),
    (rb"\x28\xb5\x2f\xfd", "compressed with zstd. End its name in .zst"),
    (rb"BZh\d1AY&SY", "compressed with bzip2. End its name in .bz2"),
    (rb"\xfd7zXZ\0", "compressed with xz. Unpack it: xz -d"),
    (rb"\x04\x22\x4d\x18", "compressed with lz4. Unpack it: lz4 -d"),
    (rb"\x89LZO\0", "compressed with lzop. Unpack it: lzop -d"),
    (rb"\xff\x06\0\0sNaPpY", "compressed with snappy. Unpack it"),
    (rb"\x1f[\x9d\xa0]", "compressed with compress. Unpack it: gunzip"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive. Unpack it"),
    (rb"Rar!\x1a\x07", "a RAR archive. Unpack it"),
    (rb"PK\x03\x04(?s:.*)(xl/|\[Content_Types\]\.xml)", "an Excel workbook. Save its sheet as CSV UTF-8"),
    (
        rb"PK\x03\x04(?s:.*)(vnd\.oasis\.opendocument|\.iwa)",
        "a workbook of LibreOffice or Numbers. Save its sheet as CSV UTF-8",
    ),
    (rb"PK\x03\x04", "a ZIP archive. Unpack it"),
    (rb"(?s:.{257})ustar", "a tar archive. Unpack it"),
    (rb"\xd0\xcf\x11\xe0", "a workbook of an old Excel. Save its sheet as CSV UTF-8"),
    (rb"ORC[\0-\x1f]", "an ORC file. Convert it to Parquet"),
    (rb"Obj\x01", "an Avro file. Convert it to Parquet"),
    (rb"ARROW1\0|\xff\xff\xff\xff[^\xff]", "an Arrow file. Convert it to Parquet"),
    (rb"FEA1\0", "a Feather file. Convert it to Parquet"),
    (rb"SEQ[\x04-\x06]", "a Hadoop sequence file. Convert it to Parquet"),
    (rb"SQLite format 3\0", "an SQLite database. Export its table as CSV"),
    (rb"(?s:.{8})DUCK[\x01-\xff]\0\0\0", "a DuckDB database. Export its table as Parquet"),
    (rb"\x89HDF", "an HDF5 file. Convert it to Parquet"),
    (rb"\x93NUMPY", "an array of NumPy. Convert it to Parquet"),
    (rb"\x80[\x02-\x05][\0-\xff]", "a Python pickle, which can run code when it is opened. Take another format"),
    (rb"%PDF-", "a PDF document. Name a table"),
    (rb"\{\\rtf", "a rich text document. Save it as plain text"),
    (
        rb"__label__\S+[ \t]",
        "a file of fastText. Write it as a table: "
        r"sed -e '1i label\ttext' -e 's/^__label__\(\S*\)\s*/\1\t/' FILE > NEW.tsv",
    ),
    (rb"version https://git-lfs", "a pointer of Git LFS, not the file itself. Fetch the file: git lfs pull"),
    (rb"/annex/objects/", "a pointer of git-annex, not the file itself. Fetch the file: git annex get"),
    (
        rb"\s*<(!doctype|!--|html|head|body|meta|table|\?xml)",
        "a web page or XML, as servers send it for an error and some programs save tables. Download the file again, "
        "or save the table as CSV",
    ),
)
"""How a file begins, what it is, and what to do."""
JSON_START = re.compile(rb'\s*(\{\s*["}]|\[\s*[\[{"\]])')
GZIP_MARK, GZIP_WINDOW = b"\x1f\x8b", 31


def suggest_format(start: bytes) -> str | None:
    """Return what to do with a file of which the name tells no format, or a wrong one; None if it is not recognised."""
    inner = describe_content(_unpack_start(start)) if start.startswith(GZIP_MARK) else None
    if inner:
        what, _, remedy = inner.partition(". ")
        return f"It is {what} within gzip. Unpack it: gunzip" if remedy.startswith("End") else f"It is {inner}"
    found = describe_content(start)
    if found:
        return f"It is {found}"
    return "It is JSON. Pass --format jsonl" if is_json(start) else None


def describe_content(start: bytes) -> str | None:
    """Return what a file is and what to do, for a file that is recognised by its first bytes; else None."""
    start = start.removeprefix(codecs.BOM_UTF8)
    return next((found for pattern, found in SIGNATURES if re.match(pattern, start, re.IGNORECASE)), None)


def is_json(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a JSON object or array."""
    return JSON_START.match(start.removeprefix(codecs.BOM_UTF8)) is not None


def _unpack_start(start: bytes) -> bytes:
    """Return the beginning of what gzip has packed, by the beginning of the packed file."""
    try:
        return zlib.decompressobj(GZIP_WINDOW).decompress(start, START_BYTES)
    except zlib.error:
        return b""

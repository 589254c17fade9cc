"""Which names are data, by the conventions of Spark, Hive, Hadoop and the Hub; opens no file."""

import fnmatch
import os
import re
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote

FORMATS_BY_SUFFIX = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
COMPRESSED_SUFFIXES = (".gz", ".zst", ".bz2")
"""Endings of compressed text files, after the ending of their format. Parquet files are compressed inside."""
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
MARKER_DIRECTORIES = (
    "_temporary", "_logs", "_delta_log", "_change_data", "_spark_metadata", "_symlink_format_manifest", ".hoodie",
    ".git", ".dvc", ".cache", ".ipynb_checkpoints", "__macosx", "__pycache__",
    "_plan", "_receipts", "_groups", "_quarantine", "_tmp",
)  # fmt: skip
"""Directories that programs keep beside data, in lower case; the last line are those of our scores."""
MARKER_FILES = (
    "_success", "_metadata", "_common_metadata", "_started_*", "_committed_*", "_manifest.json", "_report.*",
    "*.crc", "._*", "~$*", ".~lock.*", ".ds_store", "thumbs.db", "desktop.ini",
    ".gitignore", ".gitattributes", ".gitkeep", ".dvcignore",
)  # fmt: skip
"""Files that programs keep beside data, as patterns in lower case."""
MARKER_FILE = re.compile("|".join(map(fnmatch.translate, MARKER_FILES)))
PART_NAME = re.compile(r"part-[\w-]+(\.c\d+)?|\d{6}_\d+")
"""Files that Spark and Hive write without an ending: part-00000-<uuid>-c000, 000000_0."""
PARQUET_SUFFIX = re.compile(r"\.(parq|parquet\.(snappy|gzip|gz|zstd|zst|brotli|lz4|lzo))\Z", re.IGNORECASE)
"""Unusual endings of Parquet files; only the content can tell."""


def find_format(name: str) -> str | None:
    """Return the format that the ending of a file's name stands for, in any case, or None."""
    stem, suffix = os.path.splitext(name.lower())
    if suffix not in COMPRESSED_SUFFIXES:
        return FORMATS_BY_SUFFIX.get(suffix)
    found = FORMATS_BY_SUFFIX.get(os.path.splitext(stem)[1])
    return None if found == "parquet" else found


def is_part_name(name: str) -> bool:
    """Whether Spark or Hive gives such names, which have no ending, to the files of a table."""
    return PART_NAME.fullmatch(PurePosixPath(name).name) is not None


def may_be_parquet(name: str) -> bool:
    """Whether the name leaves open that the file is Parquet: it has no ending, or an unusual one."""
    base = PurePosixPath(name).name
    return "." not in base or is_part_name(base) or PARQUET_SUFFIX.search(base) is not None


def is_marker_directory(name: str) -> bool:
    """Whether programs keep their own files in directories with this name."""
    return name.lower() in MARKER_DIRECTORIES


def is_marker_file(name: str) -> bool:
    """Whether programs write files with this name beside data."""
    return MARKER_FILE.match(name.lower()) is not None


def is_hidden(name: str) -> bool:
    """Whether a name begins with _ or a dot; a partition of Hive, key=value, is never hidden."""
    return name.startswith(("_", ".")) and not name.partition("=")[1]


def classify(name: str, is_named: Callable[[str], bool] = lambda _: False) -> str | None:
    """Return why the path of a file below an input says that it is no data: marker, hidden or hidden data; else None.

    `is_named` tells which parts of the path the input itself names, so that they count as data.
    """
    *directories, file = name.split("/")
    directories = [directory for directory in directories if not is_named(directory)]
    if any(map(is_marker_directory, directories)) or (is_marker_file(file) and not is_named(file)):
        return "markers"
    if any(map(is_hidden, directories)) or (file.startswith(("_", ".")) and not is_named(file)):
        return "hidden_data" if find_format(file.lstrip("_.")) or is_part_name(file) else "hidden"
    return None


def shorten_marker(name: str) -> str:
    """Return the directory of a program that a path leads into, or the path itself: one name for all that is in it."""
    parts = name.split("/")
    depth = next((index for index, part in enumerate(parts) if is_marker_directory(part)), len(parts) - 1)
    return "/".join(parts[: depth + 1])


def parse_hive_columns(directories: Sequence[str]) -> dict[str, str | None]:
    """Return the columns in directory names like key=value, which Hive, Spark and PyArrow write percent-encoded."""
    pairs = (name.partition("=") for name in directories)
    return {
        unquote(key): None if value == HIVE_NULL else unquote(value) for key, equals, value in pairs if key and equals
    }

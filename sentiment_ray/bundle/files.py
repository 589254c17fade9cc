"""Reads files that a stranger may have written: plain files only, each once, JSON within bounds. Knows no bundle."""

import json
import os
import stat
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from sentiment_ray.errors import BundleError
from sentiment_ray.file_content import describe_json_fault

MAX_FILES = 64
MAX_JSON_DEPTH = 32
MAX_JSON_VALUES = 5_000_000
"""Keys and values of one JSON file. The largest published tokenizers have a tenth of this."""
MAX_QUOTED_CHARACTERS = 120
"""How much of a file a message quotes."""
HUB_FILES = (".gitattributes", ".cache")
"""What the Hub and `hf download --local-dir` add to a directory. Nothing reads it."""
REMEDY = "Export the bundle again."
LARGEST_NUMBER = 1e38
"""Transformers writes 1e30 for a length without a limit."""


def list_files(root: Path, *, folders: Iterable[str]) -> dict[str, int]:
    """Return the size in bytes of every file in a directory and its `folders`, by relative name with slashes.

    BundleError for a symbolic or hard link, a pipe, a socket, a device, any other folder, or more than `MAX_FILES`.
    """
    sizes: dict[str, int] = {}
    for folder in ("", *folders):
        try:
            for name in _list_names(root, folder):
                info = os.lstat(root / name)
                if stat.S_ISDIR(info.st_mode) and name in folders:
                    continue
                _check_plain(info, root, name)
                sizes[name] = info.st_size
        except FileNotFoundError:
            continue  # the caller knows which files it needs, and names one that is missing
        except OSError as error:
            raise BundleError(f"{root / folder} cannot be read ({error.strerror}). Correct its permissions.") from None
        if len(sizes) > MAX_FILES:
            raise _too_many_files(root)
    return sizes


def read_file(root: Path, name: str, *, max_bytes: int) -> bytes:
    """Return the bytes of a plain file, read once and without following links. BundleError as in `list_files`.

    Check these bytes and use these bytes: nothing opens the file a second time, so it cannot change in between.
    """
    path = root / name
    try:
        # Opening a pipe would block until somebody writes to it, so the file is opened without waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            info = os.fstat(descriptor)
            _check_plain(info, root, name)
            if info.st_size > max_bytes:
                raise BundleError(f"{path} has {info.st_size:,} bytes; at most {max_bytes:,} are read of such a file.")
            data = file.read(info.st_size + 1)
    except FileNotFoundError:
        raise BundleError(f"{path} is missing. Copy the bundle again, or export it again.") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}). Correct it, or copy the bundle again.") from None
    if len(data) != info.st_size:
        raise BundleError(f"{path} changed while it was read. Try again when nobody writes to it.")
    return data


def parse_json(
    data: bytes, source: str | Path, *, max_values: int = MAX_JSON_VALUES, remedy: str = REMEDY
) -> dict[str, Any]:
    """Parse a JSON object. BundleError, naming `source` and `remedy`, unless every program would read the same.

    The text must be UTF-8 with at most `max_values` keys and values and `MAX_JSON_DEPTH` levels. It must have no
    duplicate key, no NaN, no infinite number and no lone surrogate. Time and memory grow with the size of the text.
    """
    # Every value follows a comma or opens a list or an object, so these signs are at least as many as the values.
    if data.count(b",") + data.count(b"[") + data.count(b"{") > max_values:
        raise BundleError(f"{source} holds more than {max_values:,} values. {remedy}")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_build_object, parse_constant=_refuse_constant)
        _check_values(value)
    except RecursionError:
        raise BundleError(f"{source} is nested deeper than {MAX_JSON_DEPTH} levels. {remedy}") from None
    except ValueError as error:  # also for bytes that are not UTF-8, and for integers of thousands of digits
        raise BundleError(f"{source} {describe_json_fault(data, error, remedy=remedy)}") from None
    if not isinstance(value, dict):
        raise BundleError(f"{source} holds {type(value).__name__}, not a JSON object. {remedy}")
    return value


def quote(value: Any) -> str:
    """Return a value as Python writes it, cut after `MAX_QUOTED_CHARACTERS`, for a message."""
    text = repr(value)
    return text if len(text) <= MAX_QUOTED_CHARACTERS else f"{text[: MAX_QUOTED_CHARACTERS - 3]}..."


def _list_names(root: Path, folder: str) -> list[str]:
    """Return the sorted names in a folder, without those of the Hub. Reads no more names than a bundle may have."""
    limit = MAX_FILES + len(HUB_FILES) + 1  # one more for the folder of the models
    with os.scandir(root / folder) as entries:
        names = [entry.name for entry in islice(entries, limit + 1)]
    if len(names) > limit:
        raise _too_many_files(root)
    paths = (f"{folder}/{name}" if folder else name for name in sorted(names))
    return [path for path in paths if path not in HUB_FILES]


def _too_many_files(root: Path) -> BundleError:
    return BundleError(f"{root} holds more than {MAX_FILES} files, which no bundle does. Name a bundle.")


def _check_plain(info: os.stat_result, root: Path, name: str) -> None:
    kind = stat.S_IFMT(info.st_mode)
    if kind == stat.S_IFREG and info.st_nlink == 1:
        return
    fault, remedy = "not a plain file (a pipe, a socket or a device)", "Remove it."
    if kind == stat.S_IFLNK:
        fault, remedy = "a symbolic link", "Copy the bundle with the files themselves: cp -rL"
    elif kind == stat.S_IFDIR:
        fault = "a directory"
    elif kind == stat.S_IFREG:
        fault, remedy = f"a hard link ({info.st_nlink} names for one file)", "Copy the bundle: cp -r"
    raise BundleError(f"{root / name!s} is {fault}; a bundle holds plain files only. {remedy}")


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {quote(key)} comes twice")
        values[key] = value
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _check_values(value: Any) -> None:
    """Raise ValueError for a number out of range or a lone surrogate, and RecursionError for too many levels."""
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        next_level: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                next_level += item
                next_level += item.values()
            elif isinstance(item, list):
                next_level += item
            elif isinstance(item, str):
                if not item.isascii():
                    item.encode()  # UnicodeEncodeError is a ValueError
            elif isinstance(item, int | float) and not (abs(item) <= LARGEST_NUMBER):
                raise ValueError(f"{str(item)[:12]}... is out of range; at most {LARGEST_NUMBER:g} is allowed")
        if not next_level:
            return
        level = next_level
    raise RecursionError

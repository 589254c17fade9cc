"""Reads files that somebody else may have written: plain ones only, each once, JSON within bounds; knows no bundle."""

import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sentiment_ray.errors import BundleError

MAX_FILES = 64
MAX_JSON_DEPTH = 32
FROM_THE_HUB = (".gitattributes", ".cache")
"""What the Hub and `hf download --local-dir` put beside the files; nothing reads it."""
REMEDY = "Export the bundle again."
LARGEST_NUMBER = 1e38
"""Transformers itself writes 1e30 for a length without a limit."""


def list_files(root: Path, *, folders: Iterable[str]) -> dict[str, int]:
    """Return the size in bytes of every file in a directory and its `folders`, by relative name with slashes.

    BundleError for a link, symbolic or hard, for a pipe, socket or device, for any other folder, and for too many.
    """
    sizes: dict[str, int] = {}
    for folder in ("", *folders):
        try:
            names = sorted(os.listdir(root / folder))
            for name in (f"{folder}/{name}" if folder else name for name in names):
                if name in FROM_THE_HUB:
                    continue
                info = os.lstat(root / name)
                if stat.S_ISDIR(info.st_mode) and name in folders:
                    continue
                _check_plain(info, root, name)
                sizes[name] = info.st_size
        except FileNotFoundError:
            continue  # a file that is missed is named by whoever needs it
        except OSError as error:
            raise BundleError(f"{root / folder} cannot be read ({error.strerror}). Correct its permissions.") from None
        if len(sizes) > MAX_FILES:
            raise BundleError(f"{root} holds more than {MAX_FILES} files, which no bundle does. Name a bundle.")
    return sizes


def read_file(root: Path, name: str, *, max_bytes: int) -> bytes:
    """Return the bytes of a plain file, read once and without following links; BundleError as `list_files`.

    What was checked about these bytes stays true: nobody reads the file again.
    """
    path = root / name
    try:
        # A pipe would wait for its writer; it is opened without waiting, and refused.
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


def parse_json(data: bytes, source: str | Path, *, remedy: str = REMEDY) -> dict[str, Any]:
    """Parse a JSON object; BundleError, naming `source` and `remedy`, unless every program would read the same.

    So it is UTF-8, has no key twice, no NaN, no infinite number, no half of a surrogate pair, and at most
    `MAX_JSON_DEPTH` levels.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant)
        _check_values(value)
    except RecursionError:
        raise BundleError(f"{source} is nested deeper than {MAX_JSON_DEPTH} levels. {remedy}") from None
    except ValueError as error:  # also bytes that are no UTF-8, and integers of thousands of digits
        raise BundleError(f"{source} cannot be read as JSON ({error}). {remedy}") from None
    if not isinstance(value, dict):
        raise BundleError(f"{source} holds {type(value).__name__}, not a JSON object. {remedy}")
    return value


def _check_plain(info: os.stat_result, root: Path, name: str) -> None:
    kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a directory"}
    kind = stat.S_IFMT(info.st_mode)
    if kind != stat.S_IFREG:
        found = kinds.get(kind, "no plain file (a pipe, a socket or a device)")
    elif info.st_nlink > 1:
        found = f"a hard link ({info.st_nlink} names for one file)"
    else:
        return
    raise BundleError(
        f"{root / name!s} is {found}; a bundle holds plain files only. Copy the file itself, or remove it."
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} comes twice")
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _check_values(value: Any) -> None:
    """Raise ValueError for numbers out of range and text that is no Unicode, RecursionError for too many levels."""
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str):
                if not item.isascii():
                    item.encode()  # UnicodeEncodeError is a ValueError
            elif isinstance(item, int | float) and not (abs(item) <= LARGEST_NUMBER):
                raise ValueError(f"{str(item)[:12]}... is no number that can be used")
        if not below:
            return
        level = below
    raise RecursionError

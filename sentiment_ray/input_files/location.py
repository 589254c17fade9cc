"""Finds out what an input names, a file, a directory or a glob, and lists what stands there; knows no formats."""

import errno
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from sentiment_ray.errors import DataError, StorageError, first_line
from sentiment_ray.input_files import names
from sentiment_ray.input_files.patterns import ANY_DIRECTORIES, has_wildcard, may_lead_to_match, names_hidden
from sentiment_ray.input_files.suggestions import suggest_path
from sentiment_ray.input_files.tree import Tree, Walk, describe_defect, describe_file, walk
from sentiment_ray.retrying import is_machine_fault
from sentiment_ray.store_location import is_local, open_location


@dataclass(frozen=True)
class Location:
    """A file, a directory or a glob that was looked up, and what stands below its root."""

    fs: fsspec.AbstractFileSystem
    root: str
    """The directory, the directory above a glob's first wildcard, or the directory that holds the file."""
    kind: str
    """file, directory or glob."""
    pattern: tuple[str, ...]
    """The names of a glob below the root; empty for a file or a directory."""
    tree: Tree

    def path(self, name: str) -> str:
        """Return the path of a name below the root."""
        return f"{self.root.rstrip('/')}/{name}"

    def names_hidden(self, name: str) -> bool:
        """Whether the glob names a file or directory that is otherwise hidden."""
        return names_hidden(self.pattern, name)


def look_up(location: str, label: str) -> Location:
    """Return what a path, a URL or a glob names; a path that exists is never read as a glob.

    DataError, which begins with `label`, when there is nothing.
    """
    fs, path = open_location(location)
    path = path.rstrip("/") or "/"
    info = _find_info(fs, path, label)
    if info is None and is_local(fs):
        for form in ("NFC", "NFD"):
            other = unicodedata.normalize(form, path)
            if other != path and (found := _find_info(fs, other, label)):
                info, path = found, other
                break
    if info is None:
        return _look_up_glob(fs, path, label)
    if info["type"] == "directory" or (location.endswith("/") and not is_local(fs)):
        return Location(fs, path, "directory", (), _walk(fs, path, ()))
    return Location(fs, path.rpartition("/")[0], "file", (), Tree([describe_file(fs, path, info)]))


def list_matching_directories(location: Location) -> Location:
    """Return the location of a glob that matches directories as one that matches every file below them."""
    pattern = (*location.pattern, ANY_DIRECTORIES)
    return Location(location.fs, location.root, "glob", pattern, _walk(location.fs, location.root, pattern))


def find_root(path: Path) -> Path:
    """Return a local path itself or, for a glob, the directory above its first wildcard."""
    if path.exists():
        return path
    fs, posix_path = open_location(str(path))
    glob_parts = _split_glob(fs, posix_path, str(path))
    return Path(glob_parts[0]) if glob_parts else path


def _look_up_glob(fs: fsspec.AbstractFileSystem, path: str, label: str) -> Location:
    glob_parts = _split_glob(fs, path, label)
    if glob_parts:
        root, pattern = glob_parts
        if is_local(fs) and not os.path.isdir(root):
            raise DataError(f"{label} does not exist: there is no directory {root}. Correct its path.")
        return Location(fs, root, "glob", pattern, _walk(fs, root, pattern))
    if is_local(fs) and os.path.islink(path):
        raise DataError(f"{label} {describe_defect(path)}.")
    raise DataError(f"{label} does not exist. {suggest_path(path) if is_local(fs) else 'Correct its path.'}")


def _split_glob(fs: fsspec.AbstractFileSystem, path: str, label: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the directory above the first wildcard and the names below it; None without a wildcard.

    A name that exists is not read as a wildcard.
    """
    parts = path.split("/")
    for index, part in enumerate(parts):
        if has_wildcard(part) and _find_info(fs, "/".join(parts[: index + 1]), label) is None:
            return "/".join(parts[:index]) or "/", tuple(parts[index:])
    return None


def _walk(fs: fsspec.AbstractFileSystem, root: str, pattern: tuple[str, ...]) -> Tree:
    def place(name: str) -> Walk:
        parts = name.split("/")
        if pattern and not may_lead_to_match(pattern, parts):
            return "never"
        parts = [part for part in parts if not names_hidden(pattern, part)]
        if any(map(names.is_marker_directory, parts)):
            return "never"
        return "last" if any(map(names.is_hidden, parts)) else "now"

    return walk(fs, root, place, deep=len(pattern) != 1 or pattern == (ANY_DIRECTORIES,))


def _find_info(fs: fsspec.AbstractFileSystem, path: str, label: str) -> dict[str, Any] | None:
    """Return the details of a path, or None when it does not exist."""
    try:
        return dict(fs.info(path))
    except PermissionError as error:
        if not is_local(fs):  # keys may have expired
            raise
        raise DataError(f"{label} cannot be read ({error}). Give yourself the right to read it.") from None
    except FileNotFoundError as error:
        if isinstance(error.__cause__, OSError):  # so fsspec hides that a server cannot be reached
            raise StorageError(
                f"{label} cannot be reached ({first_line(error.__cause__)}). Correct its address, or run the same "
                "command again when it answers."
            ) from None
        return None
    except (OSError, ValueError) as error:
        if is_local(fs) and not (is_machine_fault(error) and getattr(error, "errno", None) != errno.EINVAL):
            return None  # a name that no file can have
        raise

"""Walks a directory on a disk, or lists a prefix of an object store; follows links, and knows no formats."""

import heapq
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

import fsspec

from sentiment_ray.errors import DataError
from sentiment_ray.file_versions import make_file_info
from sentiment_ray.retrying import is_machine_fault
from sentiment_ray.store_faults import find_files
from sentiment_ray.store_location import is_local

Walk = Literal["now", "last", "never"]
"""When a directory is walked: `last` after all others, and only if no link led to it."""


@dataclass(frozen=True)
class Entry:
    """A file; of a link, size and version are those of the file that it leads to."""

    name: str
    """Path below the root, with slashes."""
    bytes: int
    version: str
    defect: str = ""
    """Why the name leads to no regular file; empty otherwise."""
    inode: tuple[int, int] = (0, 0)
    """Device and inode of the file on a disk."""
    is_link: bool = False


@dataclass(frozen=True, order=True)
class _Directory:
    path: str
    prefix: str
    """Its path below the root, with a slash at its end; empty for the root."""
    real: str
    """Its path without links; of a link, the real path of the directory that holds it, and its name."""


@dataclass
class _Queues:
    """The directories that are still to be walked."""

    plain: list[_Directory] = field(default_factory=list)
    links: list[_Directory] = field(default_factory=list)
    """A heap, so that of several links to a directory the first by name is followed."""
    last: list[_Directory] = field(default_factory=list)
    visited: set[str] = field(default_factory=set)
    """Real paths of the directories that were or will be walked."""

    def add_plain(self, directory: _Directory) -> bool:
        """Add a directory, and return True, unless it is visited under another name."""
        if directory.real in self.visited:
            return False
        self.visited.add(directory.real)
        self.plain.append(directory)
        return True

    def take(self, tree: "Tree") -> _Directory | None:
        """Return the next directory, or None at the end; note in `tree` the links that are not followed."""
        while self.links and not self.plain:
            link = heapq.heappop(self.links)
            real = os.path.realpath(link.path)
            if link.real.startswith(real.rstrip("/") + "/"):
                tree.loops.append(link.prefix[:-1])
            elif self.add_plain(_Directory(link.path, link.prefix, real)):
                tree.targets.append(real)
            else:
                tree.repeated.append(link.prefix[:-1])
        if self.plain:
            return self.plain.pop()
        while self.last and self.last[-1].real in self.visited:
            self.last.pop()
        return self.last.pop() if self.last else None


@dataclass
class Tree:
    """What stands below a root: files and directories by their path below it."""

    entries: list[Entry] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    """All directories, walked or not."""
    loops: list[str] = field(default_factory=list)
    """Links to a directory above them."""
    repeated: list[str] = field(default_factory=list)
    """Links to directories that were walked under another name."""
    targets: list[str] = field(default_factory=list)
    """Real paths of the directories that links led to."""


def walk(fs: fsspec.AbstractFileSystem, root: str, place: Callable[[str], Walk], *, deep: bool = True) -> Tree:
    """Return what stands below a directory; on a disk, `place` says when each directory below it is walked.

    On an object store the whole prefix is listed, about one request for 1,000 files, or one level unless `deep`.
    DataError when a directory cannot be read.
    """
    return _walk_disk(root, place) if is_local(fs) else _list_prefix(fs, root, deep)


def describe_file(fs: fsspec.AbstractFileSystem, path: str, info: dict[str, Any]) -> Entry:
    """Return the entry of a file that is named itself."""
    if is_local(fs):
        return _describe_path(path, os.path.basename(path), is_link=os.path.islink(path))
    details = make_file_info(info)
    return Entry(path.rpartition("/")[2], details.bytes, details.version)


def describe_defect(path: str) -> str:
    """Return why a local path leads to no regular file and, in parentheses, what to do."""
    if os.path.exists(path) or not os.path.islink(path):
        return "is not a regular file (name a file)"
    target = os.readlink(path)
    remedies = {
        "annex/objects/": f"run: git annex get {PurePosixPath(path).name}",
        ".dvc/cache/": "run: dvc pull",
        "/blobs/": "run hf download again",
    }
    fitting = (remedy for part, remedy in remedies.items() if part in target)
    return f"is a link to a missing file ({target}; {next(fitting, 'restore the file, or remove the link')})"


def _walk_disk(root: str, place: Callable[[str], Walk]) -> Tree:
    """Walk plain directories, then links to directories, then those for the end; each real directory once."""
    tree, queues = Tree(), _Queues()
    queues.add_plain(_Directory(root, "", os.path.realpath(root)))
    while directory := queues.take(tree):
        for item in _scan(directory.path):
            name = directory.prefix + item.name
            if not _is_directory(item):
                tree.entries.append(_describe_path(item.path, name, is_link=item.is_symlink()))
                continue
            tree.directories.append(name)
            child = _Directory(item.path, name + "/", f"{directory.real.rstrip('/')}/{item.name}")
            when = place(name)
            if when == "now" and item.is_symlink():
                heapq.heappush(queues.links, child)
            elif when == "now" and not queues.add_plain(child):
                tree.repeated.append(name)
            elif when == "last" and not item.is_symlink():
                queues.last.append(child)
    return tree


def _scan(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as items:
            return list(items)
    except OSError as error:
        _refuse_fault(error)
        raise DataError(
            f"{path} cannot be listed ({error.strerror}). Give yourself the right to read it, or leave it out."
        ) from None


def _refuse_fault(error: OSError) -> None:
    """Raise an error again that may pass by itself, as that of a network disk may. A right that is missing stays so."""
    if is_machine_fault(error) and not isinstance(error, PermissionError):
        raise error


def _is_directory(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_dir()
    except OSError as error:
        _refuse_fault(error)
        return False  # a link to itself


def _describe_path(path: str, name: str, *, is_link: bool) -> Entry:
    try:
        status = os.stat(path)
    except OSError as error:
        _refuse_fault(error)
        if not is_link:
            raise DataError(f"{path} cannot be read ({error.strerror}). Restore it, or leave it out.") from None
        return Entry(name, 0, str(os.lstat(path).st_mtime), describe_defect(path), is_link=True)
    defect = "" if stat.S_ISREG(status.st_mode) else describe_defect(path)
    return Entry(name, status.st_size, str(status.st_mtime), defect, (status.st_dev, status.st_ino), is_link)


def _list_prefix(fs: fsspec.AbstractFileSystem, root: str, deep: bool) -> Tree:
    tree = Tree()
    infos = find_files(fs, root) if deep else {info["name"]: info for info in fs.ls(root, detail=True)}
    start = len(root.rstrip("/")) + 1
    directories = set()
    for path, info in infos.items():
        name = path[start:]
        is_directory = info["type"] == "directory" or name.endswith("/")
        if not is_directory and name:
            details = make_file_info(info)
            tree.entries.append(Entry(name, details.bytes, details.version))
        directory = name.rstrip("/") if is_directory else name.rpartition("/")[0]
        while directory and directory not in directories:
            directories.add(directory)
            directory = directory.rpartition("/")[0]
    tree.directories.extend(directories)
    return tree

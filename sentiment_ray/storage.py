"""Files on local disks and object stores. A file is there whole or not at all. Knows nothing of their content.

All goes through fsspec, so inputs and outputs have one resolution of endpoints and keys. obstore was tried instead:
it takes 409 ("try again") for "exists already", syncs no file on a disk, and refuses some names; docs/scoring.md tells
more.
"""

import hashlib
import posixpath
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from sentiment_ray.atomic_files import place_file, place_new_file
from sentiment_ray.file_versions import FileInfo, make_file_info, place_version, put_version, remove_version
from sentiment_ray.listing_pages import find_pages, has_pages
from sentiment_ray.local_files import make_temporary_file, walk_files
from sentiment_ray.manifest import remove_all
from sentiment_ray.retrying import SYSTEM_CLOCK, Clock, PassingFault, retry_passing
from sentiment_ray.store_faults import find_files, name_existing, watch_faults
from sentiment_ray.store_location import full_path, is_local, open_location

Item = TypeVar("Item")
Result = TypeVar("Result")

TEMPORARY = "_tmp"
"""Holds the unfinished files of a local directory: on the same file system, so that a rename is one step."""
TEMPORARY_PREFIX = "sentiment-ray-"
MAX_PARALLEL_REQUESTS = 16


@dataclass(frozen=True)
class Store:
    """A directory of a file system or a prefix of an object store. Names in it are relative, with slashes.

    Every call is repeated while a fault of the store may pass, and then raises StorageError. Only the answer "no such
    file" means that a file is not there.
    """

    fs: fsspec.AbstractFileSystem
    root: str
    clock: Clock = SYSTEM_CLOCK
    max_parallel: int = MAX_PARALLEL_REQUESTS
    """Requests at a time, where there are many."""

    @property
    def is_local(self) -> bool:
        """Whether the files are on a file system of this machine."""
        return is_local(self.fs)

    def path(self, name: str) -> str:
        """Return the path of a file for the file system."""
        return posixpath.join(self.root, name) if name else self.root

    def read(self, name: str) -> bytes:
        """Return the bytes of a file. FileNotFoundError when it does not exist."""
        return self._retry(lambda: bytes(self.fs.cat_file(self.path(name))), name)

    def sha256(self, name: str) -> str:
        """Return the sha256 of a file's bytes as 64 hexadecimal digits."""

        def read_all() -> str:
            with self.fs.open(self.path(name), "rb", cache_type="readahead") as handle:
                return hashlib.file_digest(handle, "sha256").hexdigest()

        return self._retry(read_all, name)

    def describe(self, name: str) -> FileInfo | None:
        """Return size and version of a file, None when it does not exist."""
        self.fs.invalidate_cache()
        try:
            return make_file_info(self._retry(lambda: self.fs.info(self.path(name)), name))
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> FileInfo:
        """Write a file in one step, and return what is there then. A crash leaves the old content or the new."""
        if not self.is_local:
            return self._put(lambda: self.fs.pipe_file(self.path(name), data), name, len(data))

        def write_once() -> FileInfo:
            with self.temporary_file() as temporary:
                temporary.write_bytes(data)
                return self.move_in(temporary, name)

        return self._retry(write_once, name)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless it exists, and return whether this call did. Of several calls at once, one succeeds.

        `data` must be unlike that of every other call: a reply that was lost is known by it.
        """

        def create_once() -> bool:
            try:
                with name_existing():
                    self._create(name, data)
            except FileExistsError:
                return self._holds(name, data)
            return True

        return self._retry(create_once, name)

    @contextmanager
    def temporary_file(self) -> Iterator[Path]:
        """Yield the path of an empty local file, on the store's file system if that is local. Remove it afterwards."""
        directory = Path(self.root) / TEMPORARY if self.is_local else None
        file = make_temporary_file(directory, TEMPORARY_PREFIX)
        try:
            yield file
        finally:
            file.unlink(missing_ok=True)
            if directory:
                with suppress(OSError):  # other files are in it
                    directory.rmdir()

    def move_in(self, file: Path, name: str) -> FileInfo:
        """Give a finished local file its `name` in the store, in one step: a rename, or one upload.

        Return what is there then. PassingFault, repeated and at last StorageError, when the object is short.
        """
        num_bytes = file.stat().st_size
        if not self.is_local:
            return self._put(lambda: self.fs.put_file(str(file), self.path(name)), name, num_bytes)
        target = Path(self.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        place_file(file, target)
        return self._look(name, num_bytes)

    def write_version(self, name: str, content: bytes | Path, seen: FileInfo | None) -> FileInfo:
        """Write bytes, or move a finished local file in, where the version is that the caller has `seen`, or none.

        Return what is there then. OtherVersionError when another version is there; see `file_versions`.
        """
        num_bytes = len(content) if isinstance(content, bytes) else content.stat().st_size

        def write_once() -> FileInfo:
            if not self.is_local:
                put_version(self.fs, content, self.path(name), seen)
            elif isinstance(content, bytes):
                with self.temporary_file() as temporary:
                    temporary.write_bytes(content)
                    place_version(self.fs, temporary, self.path(name), seen)
            else:
                place_version(self.fs, content, self.path(name), seen)
            return self._look(name, num_bytes)

        return self._retry(write_once, name)

    def remove_version(self, name: str, seen: FileInfo) -> None:
        """Remove a file that the caller has `seen`: OtherVersionError when another one is there, or none."""
        self._retry(lambda: remove_version(self.fs, self.path(name), seen), name)
        self.fs.invalidate_cache()

    def parse(self, name: str, function: Callable[[Any], Result]) -> Result:
        """Return what a function makes of a file that is open for reading. FileNotFoundError when it does not exist."""

        def open_and_parse() -> Result:
            with self.fs.open(self.path(name), "rb") as handle:
                return function(handle)

        return self._retry(open_and_parse, name)

    def copy_to(self, name: str, target: Path) -> None:
        """Copy a file to a local path. FileNotFoundError when it does not exist."""

        def copy_once() -> None:
            self.fs.get_file(self.path(name), str(target))
            if target.stat().st_size != self.fs.info(self.path(name))["size"]:
                raise PassingFault("the file was read only in part")

        self._retry(copy_once, name)

    def list(self, under: str = "") -> dict[str, FileInfo]:
        """Return every file below a directory of the store by relative name, sorted; none if there is no directory."""

        def find() -> dict[str, Any]:
            if self.is_local:
                return walk_files(self.path(under))
            self.fs.invalidate_cache()
            return find_files(self.fs, self.path(under))

        try:
            details = self._retry(find, under)
        except FileNotFoundError:
            return {}
        start = len(self.root.rstrip("/")) + 1
        return {path[start:]: make_file_info(details[path]) for path in sorted(details)}

    def map_pages(self, function: Callable[[dict[str, FileInfo]], Result], under: str = "") -> tuple[Result, ...]:
        """Call a function for every page of a listing, so that a million names do not fill the memory.

        Of stores that have no pages it gets all files at once.
        """
        return self._retry(lambda: tuple(function(page) for page in self.iterate_pages(under)), under)

    def iterate_pages(self, under: str) -> Iterator[dict[str, FileInfo]]:
        """Yield every file below a directory by relative name, some at a time; an error of the store is not retried."""
        if not has_pages(self.fs):
            yield self.list(under)
            return
        start = len(self.root.rstrip("/")) + 1
        for page in find_pages(self.fs, self.path(under)):
            yield {path[start:]: make_file_info(details) for path, details in page.items()}

    def list_top(self) -> tuple[str, ...]:
        """Return the names of the files and directories at the top, sorted; none if there is no directory."""

        def look() -> tuple[Any, ...]:
            self.fs.invalidate_cache()
            return tuple(self.fs.ls(self.root, detail=False))

        try:
            paths = self._retry(look, "")
        except FileNotFoundError:
            return ()
        return tuple(sorted(str(path).rstrip("/").rpartition("/")[2] for path in paths))

    def remove(self, name: str) -> None:
        """Remove a file, or a directory with everything in it, if it exists."""
        if self.is_local:
            remove_all(Path(self.root), name)
            return
        self.map(self.remove_file, list(self.list(name)))

    def remove_file(self, name: str) -> None:
        """Remove a file if it exists. Brackets in its name are part of it."""
        if self.is_local:
            Path(self.path(name)).unlink(missing_ok=True)
            return
        # Not `fs.rm`, which takes brackets in a path for a pattern and would remove the files that it matches.
        with suppress(FileNotFoundError):
            self._retry(lambda: self.fs.rm_file(self.path(name)), name)
        self.fs.invalidate_cache()

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> tuple[Result, ...]:
        """Call a function for each item, several at a time, and return the results in order."""
        if self.max_parallel == 1:
            return tuple(map(function, items))
        with ThreadPoolExecutor(self.max_parallel) as pool:
            return tuple(pool.map(function, items))

    def _retry(self, call: Callable[[], Result], name: str) -> Result:
        def watched_call() -> Result:
            with watch_faults(self.fs):
                return call()

        return retry_passing(watched_call, full_path(self.fs, self.path(name)), clock=self.clock)

    def _put(self, put: Callable[[], object], name: str, num_bytes: int) -> FileInfo:
        """Write an object and look at it; write it again when it is not whole, as some clients and stores leave it."""

        def put_and_look() -> FileInfo:
            put()
            return self._look(name, num_bytes)

        return self._retry(put_and_look, name)

    def _look(self, name: str, num_bytes: int) -> FileInfo:
        self.fs.invalidate_cache()
        try:
            info = make_file_info(self.fs.info(self.path(name)))
        except FileNotFoundError:
            raise PassingFault("the file that was just written is not there") from None
        if info.bytes != num_bytes:
            raise PassingFault(f"{info.bytes:,} bytes are there, and {num_bytes:,} were written")
        return info

    def _holds(self, name: str, data: bytes) -> bool:
        """Whether a file that is there already holds just these bytes, because an earlier try has written it."""
        try:
            return bytes(self.fs.cat_file(self.path(name))) == data
        except FileNotFoundError:
            raise PassingFault("the store says that the file exists, and does not show it") from None

    def _create(self, name: str, data: bytes) -> None:
        if not self.is_local:
            self.fs.pipe_file(self.path(name), data, mode="create")
            return
        with self.temporary_file() as temporary:
            temporary.write_bytes(data)
            target = Path(self.path(name))
            target.parent.mkdir(parents=True, exist_ok=True)
            place_new_file(temporary, target)


def open_store(location: str) -> Store:
    """Return the store at an absolute local path or at a URL that fsspec knows, such as s3:// or gs://."""
    fs, root = open_location(location)
    return Store(fs, root.rstrip("/") or "/")

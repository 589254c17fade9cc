"""Files on local disks and object stores. A file is there whole or not at all. Knows nothing of their content."""

import hashlib
import os
import posixpath
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import split_protocol
from fsspec.implementations.local import LocalFileSystem

from sentiment_ray.atomic_files import place_file, place_new_file
from sentiment_ray.errors import ConfigError, DataError, MissingExtraError, first_line
from sentiment_ray.manifest import remove_all
from sentiment_ray.paths import is_url

TEMPORARY = "_tmp"
"""Holds the unfinished files of a local directory: on the same file system, so that a rename is one step."""
TEMPORARY_PREFIX = "sentiment-ray-"
CHAIN = re.compile(r"::[A-Za-z][\w+.-]*://|^[A-Za-z][\w+.-]*::")
"""How fsspec writes a chain of protocols. Another `::` is part of a name."""
MAX_PARALLEL_REMOVALS = 16
PACKAGES = {
    "s3": "sentiment-ray[s3]", "s3a": "sentiment-ray[s3]", "gs": "sentiment-ray[gcs]", "gcs": "sentiment-ray[gcs]",
    "abfss": "adlfs", "wasbs": "adlfs", "oss": "ossfs",
}  # fmt: skip
"""What to install for a protocol, if it is not the extra of fsspec with its name."""


@dataclass(frozen=True)
class FileInfo:
    """Size of a file, and a text that changes with its content: the store's ETag, or the time of its last change."""

    bytes: int
    version: str


@dataclass(frozen=True)
class Store:
    """A directory of a file system or a prefix of an object store. Names in it are relative, with slashes."""

    fs: fsspec.AbstractFileSystem
    root: str

    @property
    def is_local(self) -> bool:
        """Whether the files are on a file system of this machine."""
        return is_local(self.fs)

    def path(self, name: str) -> str:
        """Return the path of a file for the file system."""
        return posixpath.join(self.root, name) if name else self.root

    def read(self, name: str) -> bytes:
        """Return the bytes of a file. FileNotFoundError when it does not exist."""
        return bytes(self.fs.cat_file(self.path(name)))

    def sha256(self, name: str) -> str:
        """Return the sha256 of a file's bytes as 64 hexadecimal digits."""
        with self.fs.open(self.path(name), "rb", cache_type="readahead") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()

    def write(self, name: str, data: bytes) -> None:
        """Write a file in one step. A crash leaves the old content or the new, never a part."""
        if not self.is_local:
            self.fs.pipe_file(self.path(name), data)
            return
        with self.temporary_file() as temporary:
            temporary.write_bytes(data)
            self.move_in(temporary, name)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless it exists, and return whether this call did. Of several calls at once, one succeeds."""
        try:
            if not self.is_local:
                self.fs.pipe_file(self.path(name), data, mode="create")
                return True
            with self.temporary_file() as temporary:
                temporary.write_bytes(data)
                target = Path(self.path(name))
                target.parent.mkdir(parents=True, exist_ok=True)
                place_new_file(temporary, target)
        except FileExistsError:
            return False
        except OSError as error:
            if "PreconditionFailed" in str(error) or "pre-conditions" in str(error):
                return False
            raise
        return True

    @contextmanager
    def temporary_file(self) -> Iterator[Path]:
        """Yield the path of an empty local file, on the store's file system if that is local. Remove it afterwards."""
        directory = Path(self.root) / TEMPORARY if self.is_local else None
        if directory:
            directory.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=directory)
        os.close(handle)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def move_in(self, file: Path, name: str) -> None:
        """Give a finished local file its `name` in the store, in one step: a rename, or one upload."""
        if not self.is_local:
            self.fs.put_file(str(file), self.path(name))
            return
        target = Path(self.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        place_file(file, target)

    def list(self, under: str = "") -> dict[str, FileInfo]:
        """Return every file below a directory of the store by relative name, sorted; none if there is no directory."""
        self.fs.invalidate_cache()
        try:
            details = self.fs.find(self.path(under), detail=True)
        except FileNotFoundError:
            return {}
        start = len(self.root.rstrip("/")) + 1
        return {path[start:]: file_info(details[path]) for path in sorted(details)}

    def list_top(self) -> tuple[str, ...]:
        """Return the names of the files and directories at the top, sorted; none if there is no directory."""
        self.fs.invalidate_cache()
        try:
            paths = self.fs.ls(self.root, detail=False)
        except FileNotFoundError:
            return ()
        return tuple(sorted(str(path).rstrip("/").rpartition("/")[2] for path in paths))

    def remove(self, name: str) -> None:
        """Remove a file, or a directory with everything in it, if it exists."""
        if self.is_local:
            remove_all(Path(self.root), name)
            return
        # Not `fs.rm`, which takes brackets in a path for a pattern and would remove the files that it matches.
        files = [self.path(file) for file in self.list(name)]
        with ThreadPoolExecutor(MAX_PARALLEL_REMOVALS) as pool:
            list(pool.map(self.fs.rm_file, files))
        self.fs.invalidate_cache()


def open_store(location: str) -> Store:
    """Return the store at an absolute local path or at a URL that fsspec knows, such as s3:// or gs://."""
    fs, root = open_location(location)
    return Store(fs, root.rstrip("/") or "/")


def open_location(location: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the file system of a path or URL and the path on it. MissingExtraError names a library to install.

    A location without `protocol://` is a local path, also with the `::` by which fsspec separates chained protocols.
    """
    if not is_url(location):
        return LocalFileSystem(use_listings_cache=False), os.path.abspath(location)
    is_chain = CHAIN.search(location) is not None
    base = location if is_chain else location.partition("::")[0]
    try:
        fs, path = fsspec.core.url_to_fs(base, use_listings_cache=False)
    except ImportError as error:
        protocol = split_protocol(location)[0]
        package = PACKAGES.get(protocol, f"fsspec[{protocol}]")
        raise MissingExtraError(f"{location}: {error}. Run: pip install '{package}'") from None
    except ValueError as error:
        if package := PACKAGES.get(split_protocol(location)[0], ""):
            raise MissingExtraError(f"{location}: its library is not installed. Run: pip install '{package}'") from None
        raise ConfigError(f"{location}: {error}. Use a local path, s3://, gs:// or another URL of fsspec.") from None
    except Exception as error:  # the library of every store has its own errors, as that of HDFS without Java
        raise ConfigError(
            f"{location} cannot be opened ({first_line(error)}). Correct it, or install what its library needs."
        ) from None
    return fs, str(path if is_chain else fs._strip_protocol(location))


def is_local(fs: fsspec.AbstractFileSystem) -> bool:
    """Whether a file system is one of this machine."""
    return isinstance(fs, LocalFileSystem)


def full_path(fs: fsspec.AbstractFileSystem, path: str) -> str:
    """Return a path as a person writes it: a URL with its protocol, or a plain local path."""
    return path if is_local(fs) else str(fs.unstrip_protocol(path))


def file_info(info: dict[str, Any]) -> FileInfo:
    """Return size and version of a file from the details that fsspec gives."""
    version = next((info[key] for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified") if info.get(key)), "")
    return FileInfo(int(info.get("size") or 0), str(version))


@contextmanager
def local_copy(location: str, key: str, *, max_files: int, max_bytes: int) -> Iterator[Path]:
    """Yield a local directory with the files of `location`: the directory itself, or a download that is removed later.

    DataError, naming the configuration key, when a URL holds no file, more files or bytes than allowed, or a name that
    leads out of the directory. Nothing is downloaded then.
    """
    store = open_store(location)
    if store.is_local:
        yield Path(store.root)
        return
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as directory:
        files = store.list()
        num_bytes = sum(info.bytes for info in files.values())
        if not files:
            raise DataError(f"{key} = {location!r} holds no files. Correct the URL.")
        if len(files) > max_files or num_bytes > max_bytes:
            raise DataError(
                f"{key} = {location!r} holds {len(files):,} files of {num_bytes:,} bytes together; at most "
                f"{max_files:,} and {max_bytes:,} are downloaded. Correct the URL."
            )
        targets = {name: Path(directory, name).resolve() for name in files}
        for name, target in targets.items():
            if not target.is_relative_to(Path(directory).resolve()):
                raise DataError(f"{key} = {location!r} holds {name!r}, which leads out of it. Remove that file.")
        for name, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            store.fs.get_file(store.path(name), str(target))
        yield Path(directory)

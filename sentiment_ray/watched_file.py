"""An input file that remembers each fault of its store, so that a fault is never taken for damage of the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from sentiment_ray.parquet_types import is_damage
from sentiment_ray.retrying import PassingFault, is_passing
from sentiment_ray.store_faults import watch_faults


class WatchedFile:
    """A file open for reading, as PyArrow takes it. `fault` is the first error or cut answer of the store below."""

    def __init__(self, file: Any, path: str) -> None:
        self._file = file
        self._path = path
        self._num_bytes = getattr(file, "size", None)
        self.fault: Exception | None = None

    @property
    def closed(self) -> bool:
        """Whether the file has been closed."""
        return bool(self._file.closed)

    def read(self, num_bytes: int = -1) -> bytes:
        """Return the next bytes. PassingFault when there are fewer than asked for, and the file is longer."""
        start = self._file.tell()
        try:
            data = bytes(self._file.read(num_bytes))
        except Exception as error:
            self.fault = self.fault or error
            raise
        expected = num_bytes if num_bytes >= 0 else self._num_bytes
        if self._num_bytes is not None and expected and len(data) < min(expected, self._num_bytes - start):
            self.fault = self.fault or PassingFault(f"{self._path} was read only in part ({len(data):,} bytes)")
            raise self.fault
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a position and return it."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the position."""
        return int(self._file.tell())

    def readable(self) -> bool:
        """Return that the file can be read."""
        return True

    def writable(self) -> bool:
        """Return that the file cannot be written."""
        return False

    def seekable(self) -> bool:
        """Return that positions can be sought."""
        return True

    def flush(self) -> None:
        """Do nothing: nothing is written."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def refuse_fault(self, error: Exception) -> None:
        """Raise the fault of the store, or the error itself, unless the error says that the file is damaged."""
        if self.fault is not None:
            raise self.fault from error
        if not is_damage(error):
            raise error


@contextmanager
def open_watched(fs: fsspec.AbstractFileSystem, path: str) -> Iterator[WatchedFile]:
    """Open a file for reading. An error of the block that a fault of the store has caused becomes that fault."""
    with watch_faults(fs), fs.open(path, "rb", cache_type="readahead") as file:
        watched = WatchedFile(file, path)
        try:
            yield watched
        except Exception as error:
            if watched.fault is not None and not is_passing(error):
                raise watched.fault from error
            raise

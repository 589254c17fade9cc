"""A store that a run changes only while it holds the lock of its output, whatever sleeps meanwhile; knows no stage."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sentiment_ray.errors import ConfigError, StorageError
from sentiment_ray.file_versions import FileInfo, OtherVersionError
from sentiment_ray.output_lock import Lock, hold_next_number, read_highest_lock, refuse_if_taken_over
from sentiment_ray.storage import Store

LONG_CHANGE_S = 30.0
"""Seconds after which a process that has changed a file looks at the lock again."""
MAX_VERSIONS = 8
"""Versions of a file that a process meets while it writes the file, before it gives up."""
REMOVED_AT_ONCE = 256
"""Files that are removed between two looks at the lock."""


@dataclass(frozen=True)
class LockedStore(Store):
    """A store that changes nothing unless its run still holds the lock: ConfigError when another run has taken it.

    Between its look at the lock and its change a process may sleep for hours, as when its machine is suspended. So:

    1. A file is written where none is. It is replaced or removed only in the version that was there before the look. A
       run that takes the lock later writes other versions, which stay.
    2. After a change that took long the lock is looked at again. What was written too late is removed.
    """

    output: str = ""
    """The output as the person wrote it."""
    lock: Lock = Lock("", "")

    def write(self, name: str, data: bytes) -> FileInfo:
        """Write a file, as `Store.write`."""
        return self._put_under_lock(name, data)

    def move_in(self, file: Path, name: str) -> FileInfo:
        """Give a finished local file its name, as `Store.move_in`."""
        return self._put_under_lock(name, file)

    def remove(self, name: str) -> None:
        """Remove a file or a directory, as `Store.remove`."""
        if self.is_local:
            refuse_if_taken_over(self, self.output, self.lock)
            super().remove(name)
            return
        found = list(self.list(name).items())
        for start in range(0, len(found), REMOVED_AT_ONCE):
            refuse_if_taken_over(self, self.output, self.lock)
            self.map(self._remove_seen, found[start : start + REMOVED_AT_ONCE])

    def remove_file(self, name: str) -> None:
        """Remove a file, as `Store.remove_file`."""
        seen = self.describe(name)
        refuse_if_taken_over(self, self.output, self.lock)
        if seen:
            self._remove_seen((name, seen))

    def _put_under_lock(self, name: str, content: bytes | Path) -> FileInfo:
        seen: FileInfo | None = None
        for _ in range(MAX_VERSIONS):
            looked_at = self._read_clocks()
            refuse_if_taken_over(self, self.output, self.lock)
            try:
                info = self.write_version(name, content, seen)
            except OtherVersionError:
                seen = self.describe(name)  # and only then another look at the lock
                continue
            if any(now - then > LONG_CHANGE_S for now, then in zip(self._read_clocks(), looked_at, strict=True)):
                self._remove_if_late(name, info)
            return info
        raise StorageError(
            f"{self.path(name)}: each time that it was written, another file was there afterwards, or a part of it. "
            "Run the same command again: what is finished is kept."
        )

    def _remove_if_late(self, name: str, info: FileInfo) -> None:
        """Remove what was written after another run had taken the lock, unless that run writes the same files."""
        try:
            refuse_if_taken_over(self, self.output, self.lock)
        except ConfigError:
            if read_highest_lock(self).get("purpose") != self.lock.purpose:
                self._remove_seen((name, info))
            raise

    def _remove_seen(self, file: tuple[str, FileInfo]) -> None:
        with suppress(OtherVersionError):  # another process has just written or removed it
            self.remove_version(*file)

    def _read_clocks(self) -> tuple[float, float]:
        """Return two clocks, in seconds: one stands still while a machine is suspended, the other one may jump."""
        return self.clock.monotonic(), self.clock.time()


def guard(store: Store, output: str, lock: Lock) -> LockedStore:
    """Return the store as the run sees it that holds the lock."""
    return LockedStore(store.fs, store.root, store.clock, store.max_parallel, output, lock)


@contextmanager
def advance_lock(store: LockedStore) -> Iterator[LockedStore]:
    """Hold the next number until the block ends, so that processes that know only the present one are locked out.

    ConfigError when another run has taken the output.
    """
    with hold_next_number(store, store.output, store.lock) as lock:
        yield guard(store, store.output, lock)

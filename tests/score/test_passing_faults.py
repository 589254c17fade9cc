"""A fault that may pass is never a verdict on data: it is tried again, and at last ends the run by name."""

import errno
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from sentiment_ray import watched_file
from sentiment_ray.errors import StorageError
from sentiment_ray.file_versions import make_file_info
from sentiment_ray.input_files.listing import InputFile
from sentiment_ray.parquet_types import is_damage
from sentiment_ray.retrying import PassingFault, SystemClock, is_passing, retry_passing
from sentiment_ray.score import footers
from sentiment_ray.score.chunks import cut_batch
from sentiment_ray.score.footers import read_footer
from sentiment_ray.score.plan import Unit
from sentiment_ray.score.reading import check_version, open_parquet, read_chunks
from sentiment_ray.storage import Store, open_store
from sentiment_ray.store_location import open_location

FAULTS = {
    "ESTALE": OSError(errno.ESTALE, "Stale file handle"),
    "EMFILE": OSError(errno.EMFILE, "Too many open files"),
    "EIO": OSError(errno.EIO, "Input/output error"),
    "memory": MemoryError(),
    "Arrow's memory": pa.ArrowMemoryError("malloc of size 1024 failed"),
}


class FastClock(SystemClock):
    """A clock that does not wait, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.sleeps = 0

    def sleep(self, seconds: float) -> None:
        self.sleeps += 1


class FaultyFile(io.BytesIO):
    """An input file that raises a fault at every read, or returns fewer bytes than asked for."""

    def __init__(self, data: bytes, fault: Exception | None) -> None:
        super().__init__(data)
        self.size, self._fault = len(data), fault

    def read(self, num_bytes: int | None = -1) -> bytes:
        if self._fault:
            raise self._fault
        return super().read(num_bytes)[:-1]


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": [f"text {row}" for row in range(100)]}), path, row_group_size=50)
    version = make_file_info(open_location(str(path))[0].info(str(path))).version
    return Unit(str(path), version, "a.parquet", (0, 1), (50, 50), 0, path.stat().st_size)


def _read(unit: Unit, spoil: Callable[[watched_file.WatchedFile], None] = lambda _: None) -> list[str]:
    """Read a unit, whose file is spoilt after it was opened; return the reason of each chunk."""
    with open_parquet(unit) as file:
        spoil(file.handle)
        return [chunk.reason for chunk in read_chunks(file, file.schema, unit, max_row_bytes=1000)]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_while_a_row_group_is_read_quarantines_nothing(name: str, unit: Unit) -> None:
    def spoil(handle: watched_file.WatchedFile) -> None:
        handle._file = FaultyFile(Path(unit.path).read_bytes(), FAULTS[name])

    with pytest.raises(type(FAULTS[name])) as error:
        _read(unit, spoil)
    assert is_passing(error.value)
    assert _read(unit) == ["", ""]


def test_an_answer_that_was_cut_is_a_fault_and_no_damage(unit: Unit) -> None:
    def spoil(handle: watched_file.WatchedFile) -> None:
        handle._file = FaultyFile(Path(unit.path).read_bytes(), None)

    with pytest.raises(PassingFault, match="was read only in part"):
        _read(unit, spoil)


def test_a_row_group_that_is_damaged_is_quarantined_at_once(unit: Unit) -> None:
    data = bytearray(Path(unit.path).read_bytes())
    data[10:60] = bytes(50)
    Path(unit.path).write_bytes(data)
    version = make_file_info(open_location(unit.path)[0].info(unit.path)).version
    damaged = Unit(unit.path, version, unit.part, unit.row_groups, unit.group_rows, 0, len(data))
    assert [bool(reason) for reason in _read(damaged)] == [True, False]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_while_a_footer_is_read_is_tried_again_and_named(
    name: str, unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, fault = FastClock(), FAULTS[name]

    def fail(handle: Any) -> None:
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(footers, "_parse_footer", fail)
        with pytest.raises(StorageError, match=r"a\.parquet: .* No row was quarantined .* Run the same command again"):
            read_footer(unit.path, clock)
    assert clock.sleeps == footers.READ_ATTEMPTS - 1
    assert read_footer(unit.path, clock).reason is None


def test_a_node_without_the_mount_sets_no_file_aside(unit: Unit) -> None:
    Path(unit.path).rename(unit.path + ".elsewhere")
    with pytest.raises(StorageError, match="is listed and cannot be found by .* Mount its directory on every node"):
        read_footer(unit.path, FastClock())
    with pytest.raises(PassingFault, match="is not there for .* Mount its directory"):
        check_version(unit)


def test_a_broken_link_is_quarantined_as_the_driver_sees_it(ray_cluster: None, unit: Unit) -> None:
    link = InputFile("/nowhere/b.parquet", "b.parquet", 0, "1", defect="is a link to a missing file")
    file = InputFile(unit.path, "a.parquet", 1, unit.version)
    assert [each.reason for each in footers.read_footers([file, link])] == [None, "is a link to a missing file"]


def test_memory_that_is_missing_is_no_damage_unless_the_file_asks_for_more_than_there_is() -> None:
    assert not is_damage(pa.ArrowMemoryError("malloc of size 4096 failed"))
    assert is_damage(pa.ArrowMemoryError(f"malloc of size {1 << 60} failed"))
    assert is_damage(pa.ArrowInvalid("corrupt"))
    assert is_damage(OSError("Unexpected end of stream"))
    assert not is_damage(OSError(errno.EIO, "Input/output error"))


def test_memory_that_is_missing_while_columns_are_cast_quarantines_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = pa.record_batch([pa.array(["a"])], names=["text"])

    def fail(*_: Any) -> None:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr("sentiment_ray.score.chunks.cast_column", fail)
    with pytest.raises(MemoryError):
        list(cut_batch(batch, batch.schema, 0, 1000))


def test_a_file_that_has_another_size_has_changed_even_with_the_same_time(unit: Unit) -> None:
    shorter = Unit(unit.path, unit.version, unit.part, unit.row_groups, unit.group_rows, 0, 7)
    with pytest.raises(Exception, match="has changed since the plan was made"):
        check_version(shorter)
    assert make_file_info({"size": 12}).version == "12 bytes"


def test_only_not_found_is_absence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = open_location(str(tmp_path))[0]
    store = Store(fs, str(tmp_path), FastClock())
    store.write("a", b"1")
    for error in (OSError(errno.EBUSY, "SlowDown"), PermissionError(errno.EACCES, "403"), TimeoutError()):
        with monkeypatch.context() as patch:

            def fail(*_: Any, error: Exception = error, **__: Any) -> None:
                raise error

            patch.setattr(type(fs), "cat_file", fail)
            patch.setattr(type(fs), "info", fail)
            patch.setattr("os.walk", fail)
            for call in (lambda: store.read("a"), lambda: store.describe("a"), lambda: store.list()):
                with pytest.raises(StorageError, match="Run the same command again"):
                    call()
    assert (store.read("a"), list(store.list()), store.list("b")) == (b"1", ["a"], {})


def test_a_directory_that_cannot_be_listed_is_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path))
    store.write("a/b", b"1")
    scan = __import__("os").scandir

    def fail(path: Any) -> Any:
        if str(path).endswith("/a"):
            raise OSError(errno.EMFILE, "Too many open files", str(path))
        return scan(path)

    monkeypatch.setattr("os.scandir", fail)
    with pytest.raises(StorageError):
        Store(store.fs, store.root, FastClock()).list()


def test_a_call_is_repeated_only_while_its_fault_may_pass() -> None:
    clock, calls = FastClock(), list[int]()

    def call() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise OSError(errno.ESTALE, "Stale file handle")
        return "done"

    assert (retry_passing(call, "x", clock=clock), len(calls)) == ("done", 3)
    for error in (FileNotFoundError("x"), OSError(errno.ENOSPC, "full"), ValueError("x"), KeyError("x")):
        calls.clear()

        def fail(error: Exception = error) -> None:
            calls.append(1)
            raise error

        with pytest.raises(type(error)):
            retry_passing(fail, "x", clock=clock)
        assert len(calls) == 1

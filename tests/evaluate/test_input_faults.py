"""A fault of the disk, of memory or of a store is no damage of a labelled file: it is tried again, and then named."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from sentiment_ray.errors import DataError, StorageError
from sentiment_ray.evaluate.tables import read_table
from sentiment_ray.retrying import SYSTEM_CLOCK
from sentiment_ray.watched_file import WatchedFile
from tests.faults import no_free_file_descriptors


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(SYSTEM_CLOCK, "sleep", lambda seconds: None, raising=False)
    parquet.write_table(pa.table({"text": ["fine"] * 100, "label": ["neutral"] * 100}), tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


def test_a_fault_of_the_operating_system_is_no_damage(path: Path) -> None:
    with no_free_file_descriptors(), pytest.raises(StorageError, match=r"a\.parquet: .*too many open files"):
        read_table(str(path))
    assert read_table(str(path)).num_rows == 100


@pytest.mark.parametrize("fault", [PermissionError("403"), TimeoutError(), pa.ArrowMemoryError("malloc failed")])
def test_a_fault_of_the_store_is_no_damage(fault: Exception, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyArrow turns it into an error of its own on the way."""
    read, tries = WatchedFile.read, list[int]()

    def fail_twice(file: WatchedFile, num_bytes: int = -1) -> bytes:
        tries.append(1)
        if len(tries) < 3:
            file.fault = fault
            raise fault
        return read(file, num_bytes)

    monkeypatch.setattr(WatchedFile, "read", fail_twice)
    assert read_table(str(path)).num_rows == 100

    def fail(file: WatchedFile, num_bytes: int = -1) -> Any:
        file.fault = fault
        raise fault

    monkeypatch.setattr(WatchedFile, "read", fail)
    with pytest.raises(StorageError, match=r"a\.parquet: .* Run the same command again"):
        read_table(str(path))


def test_a_file_that_is_gone_is_no_damage_and_a_damaged_one_is(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    with pytest.raises(StorageError, match="it is listed and is not there any more"):
        read_table(str(path))
    path.write_bytes(data[:-20])
    with pytest.raises(DataError, match=r"a\.parquet: not a Parquet file that can be read"):
        read_table(str(path))

"""A fault of the disk, of memory or of a mount is no damage of a source: it is tried again, and then ends with 1."""

import bz2
import errno
import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.ray_tasks import run_tasks
from sentiment_ray.data.readers import parquet, text_lines
from sentiment_ray.data.readers.rows import read_tables
from sentiment_ray.data.sources import list_files, make_read_tasks, resolve_paths
from sentiment_ray.errors import StorageError
from sentiment_ray.input_files.listing import list_input
from sentiment_ray.retrying import SYSTEM_CLOCK, PassingFault
from tests.data.raw_rows import GOOD, format_rows, read
from tests.faults import no_free_file_descriptors
from tests.situations.run_job import run_job

LINES = "".join(f'{{"text": "{text}", "label": "{label}"}}\n' for text, label in GOOD).encode()


@pytest.fixture(autouse=True)
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between two tries, which take no time."""
    sleeps: list[float] = []
    monkeypatch.setattr(SYSTEM_CLOCK, "sleep", sleeps.append, raising=False)
    return sleeps


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """A source of every kind."""
    directory = tmp_path / "in"
    directory.mkdir()
    (directory / "a.csv").write_text(format_rows(GOOD))
    (directory / "a.jsonl").write_bytes(LINES)
    (directory / "a.jsonl.gz").write_bytes(gzip.compress(LINES))
    (directory / "a.jsonl.bz2").write_bytes(bz2.compress(LINES))
    with pa.output_stream(directory / "a.jsonl.zst", compression="zstd") as file:
        file.write(LINES)
    texts, labels = zip(*GOOD, strict=True)
    pq.write_table(pa.table({"text": texts, "label": labels}), directory / "a.parquet")
    return sorted(directory.iterdir())


def test_a_fault_of_the_operating_system_is_no_damage_of_a_source(sources: list[Path], sleeps: list[float]) -> None:
    for path in sources:
        config = resolve_paths(PrepareConfig(output="out", sources=[{"path": str(path), "name": "s"}]))
        files = list_files(config)
        (task,) = make_read_tasks(config, files)
        with no_free_file_descriptors():
            with pytest.raises(StorageError, match=rf"^/.*{path.name}: .*too many open files.* No row was set aside"):
                make_read_tasks(config, files)
            with pytest.raises(PassingFault, match=path.name):
                list(read_tables(task, config.sources[0]))
        assert len(read(path)) == len(GOOD)
    assert len(sleeps) == 4 * len(sources)


def test_a_file_that_this_node_does_not_see_is_no_damage(sources: list[Path]) -> None:
    for path in sources:
        config = resolve_paths(PrepareConfig(output="out", sources=[{"path": str(path), "name": "s"}]))
        (task,) = make_read_tasks(config, list_files(config))
        path.rename(path.with_name("elsewhere"))
        with pytest.raises(PassingFault, match=rf"{path.name} is not there for .* Mount its directory on every node"):
            list(read_tables(task, config.sources[0]))
        path.with_name("elsewhere").rename(path)


@pytest.mark.parametrize("fault", [OSError(errno.EIO, "Input/output error"), pa.ArrowMemoryError("malloc failed")])
def test_a_stage_that_cannot_read_its_sources_ends_with_1_and_leaves_nothing(
    fault: Exception, sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise fault

    for module, name in ((text_lines, "_open"), (parquet.pq, "read_metadata")):
        monkeypatch.setattr(module, name, fail)
    for path in sources:
        done = run_job("prepare_reviews", "--input", str(path), "--output", str(tmp_path / "out"))
        assert done.exit_code == 1, done.stderr
        (line,) = done.error_lines
        assert path.name in line and "Run the same command again" in line
    assert not (tmp_path / "out").exists()


def test_a_listing_that_fails_is_no_missing_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Any, *_: Any, **__: Any) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    (tmp_path / "in").mkdir()
    for name in ("scandir", "stat"):
        with monkeypatch.context() as patch:
            patch.setattr(f"os.{name}", fail)
            with pytest.raises(StorageError, match="cannot be listed: the network file system has lost the file"):
                list_input(str(tmp_path / "in"), label="input", formats=("csv",))


def test_a_task_that_meets_a_fault_is_run_again(ray_cluster: None, tmp_path: Path) -> None:
    def fail_once(number: int) -> int:
        if not (tmp_path / str(number)).exists():
            (tmp_path / str(number)).touch()
            raise OSError(errno.ESTALE, "Stale file handle")
        return number

    assert sorted(run_tasks(fail_once, [(0,), (1,)], title="Failing")) == [0, 1]

"""What listing costs: requests to an object store and calls to a disk, counted, never timed."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from layouts import STAGES, list_names, write_rows

from sentiment_ray.data.prepare import _group_tasks
from sentiment_ray.input_files.listing import InputFile
from sentiment_ray.score import footers
from sentiment_ray.store_location import open_location

FILES = 60


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """The requests to the object store, counted by operation."""
    import aiobotocore.paginate
    import s3fs

    counts: Counter[str] = Counter()
    real = s3fs.S3FileSystem._call_s3

    async def count(self: Any, operation: str, *args: Any, **keys: Any) -> Any:
        counts[operation] += 1
        return await real(self, operation, *args, **keys)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", count)
    real_request = aiobotocore.paginate.AioPageIterator._make_request

    async def count_request(self: Any, current: Any) -> Any:
        counts["page"] += 1
        return await real_request(self, current)

    monkeypatch.setattr(aiobotocore.paginate.AioPageIterator, "_make_request", count_request)
    yield counts


def test_more_files_in_a_bucket_need_no_more_requests_than_pages(
    tmp_path: Path, s3: str, requests: Counter[str]
) -> None:
    fs, bucket = open_location(s3)
    content = write_rows(tmp_path / "a.parquet", ["fine"]).read_bytes()
    fs.pipe({f"{bucket}/many/day={number % 20}/{number}.parquet": content for number in range(FILES)})
    fs.pipe({f"{bucket}/few/day={number}/{number}.parquet": content for number in range(3)})
    for pattern in ("", "/**", "/day=*/*.parquet", "/day=*"):
        totals = []
        for location, expected in (("few", 3), ("many", FILES)):
            requests.clear()
            assert len(list_names("score", f"{s3}/{location}{pattern}", str(tmp_path / "out"))) == expected
            totals.append(requests.total())
        assert totals[1] == totals[0] <= 20, f"a page has 1,000 files; {FILES} files in 20 directories: {totals}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_is_listed_with_one_call_for_each_file_and_directory(
    tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def counted(name: str) -> Any:
        real = getattr(os, name)

        def call(*args: Any, **keys: Any) -> Any:
            calls[name] += 1
            return real(*args, **keys)

        return call

    for size in (50, 400):
        for number in range(size):
            path = tmp_path / f"{size}/day={number % 10}/{number}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    for name in ("stat", "lstat", "scandir", "readlink"):
        monkeypatch.setattr(os, name, counted(name))
    totals = []
    for size in (50, 400):
        calls.clear()
        assert len(list_names(stage, str(tmp_path / str(size)), str(tmp_path / "out"))) == size
        assert calls["scandir"] == 11
        totals.append(calls.total())
    assert totals[1] - totals[0] == 350, f"one stat for each further file: {totals}"


def test_only_files_without_a_known_ending_are_opened(tmp_path: Path, s3: str, requests: Counter[str]) -> None:
    fs, bucket = open_location(s3)
    content = write_rows(tmp_path / "a.parquet", ["fine"]).read_bytes()
    names = ("a.parquet", "b.pq", "notes.txt", "c.csv", "rows", "part-00000-0a1b-c000", "LICENSE", "empty")
    fs.pipe({f"{bucket}/mixed/{name}": content if name not in ("LICENSE", "empty") else b"" for name in names})
    assert len(list_names("score", f"{s3}/mixed", str(tmp_path / "out"))) == 4
    assert requests["get_object"] == 2


def test_each_task_is_added_once_when_tasks_are_grouped() -> None:
    reads = 0

    class Task:
        @property
        def size_bytes(self) -> int:
            nonlocal reads
            reads += 1
            return 3

    tasks: Any = [Task() for _ in range(1000)]
    assert [len(group) for group in _group_tasks(tasks, 1200)] == [400, 400, 200]
    assert reads == 1000


def test_footers_of_many_files_wait_for_a_bounded_number_of_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Reference:
        paths: tuple[str, ...]

    class Task:
        def remote(self, paths: list[str]) -> Reference:
            pending.add(tuple(paths))
            return Reference(tuple(paths))

    pending: set[tuple[str, ...]] = set()
    counts: list[int] = []

    def get(reference: Reference) -> list[footers.Footer]:
        counts.append(len(pending))
        pending.remove(reference.paths)
        return [footers.Footer(footers.NO_COLUMNS, (int(path),)) for path in reference.paths]

    monkeypatch.setattr(footers.ray, "remote", lambda **keys: lambda function: Task())
    monkeypatch.delattr(footers.ray, "wait")  # it would look at all pending tasks each time
    monkeypatch.setattr(footers.ray, "get", get)
    files = [InputFile(str(number), str(number), 1, "") for number in range(32 * 600)]
    assert [footer.group_rows[0] for footer in footers.read_footers(files)] == list(range(32 * 600))
    assert (len(counts), max(counts)) == (600, footers.MAX_PENDING_TASKS)

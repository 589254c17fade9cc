"""Measures planning, resuming and committing a run of very many units, against a store that answers late; without Ray.

The store is a simulation: 30 ms pass before each answer, 16 requests run at a time, and a listing has pages of 1,000
names. The objects that the protocol reads are files below --workdir. Parts are only names and sizes.
"""

import resource
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import click
import fsspec
import pyarrow as pa
from fsspec.spec import AbstractBufferedFile
from harness import machine
from pyarrow import parquet

from sentiment_ray.config.shell import print_result, run
from sentiment_ray.file_versions import FileInfo
from sentiment_ray.inference.drift import add_profiles
from sentiment_ray.input_files.listing import InputFile
from sentiment_ray.locked_store import guard
from sentiment_ray.output_lock import hold_lock
from sentiment_ray.score.commit import CommitSteps, Summary, commit
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.file_tables import WrittenFile
from sentiment_ray.score.finished_units import find_finished_units
from sentiment_ray.score.footers import read_footer
from sentiment_ray.score.identity import Identity, make_file_table
from sentiment_ray.score.plan import NewPlan, Plan, PlanShard, Unit, make_plan, make_unit, make_unit_tables
from sentiment_ray.score.plan_file import UnitReader, read_plan, read_units, write_plan
from sentiment_ray.score.receipt_shards import RECEIPT_SCHEMA, make_receipt_table, merge_receipts, write_receipt_table
from sentiment_ray.score.receipts import Receipt, write_receipt
from sentiment_ray.score.totals import count_receipt
from sentiment_ray.score.unit_protocol import finish_unit
from sentiment_ray.score.unit_result import UnitResult
from sentiment_ray.storage import Store, open_store

PAGE = 1_000
PART_BYTES = 4_000_000
ROW_GROUPS = 10_000
"""Row groups of each input file; each is a unit."""
OUTPUT = "slow://bucket/out"
STEPS = ("unit", "prepare-plan", "plan", "prepare-resume", "resume", "prepare-commit", "commit")


class SlowFileSystem(fsspec.AbstractFileSystem):
    """Objects in a local directory, behind a delay. Every request is counted."""

    protocol = "slow"
    root = Path()
    delay_s = 0.0
    requests: Counter[str] = Counter()
    num_parts = 0
    _lock = threading.Lock()

    def _wait(self, kind: str, times: int = 1) -> None:
        with self._lock:
            SlowFileSystem.requests[kind] += times
        time.sleep(self.delay_s * times)

    def _local(self, path: str) -> Path:
        return self.root / self._strip_protocol(path)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return an object."""
        self._wait("GET")
        return self._local(path).read_bytes()[start:end]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return size and version of an object."""
        self._wait("HEAD")
        size = self._local(path).stat().st_size
        return {"name": path, "size": size, "ETag": f"{size:032x}", "type": "file"}

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Write an object."""
        self._wait("PUT")
        local = self._local(path)
        local.parent.mkdir(parents=True, exist_ok=True)
        if mode == "create" and local.exists():
            raise FileExistsError(path)
        unfinished = local.with_name(f".{uuid.uuid4().hex}")
        unfinished.write_bytes(value)
        unfinished.rename(local)

    def put_file(self, lpath: str, rpath: str, mode: str = "overwrite", **_: Any) -> None:
        """Write an object from a file."""
        self.pipe_file(rpath, Path(lpath).read_bytes(), mode)

    def rm_file(self, path: str) -> None:
        """Remove an object."""
        self._wait("DELETE")
        self._local(path).unlink()

    def find(self, path: str, maxdepth: int | None = None, withdirs: bool = False, **_: Any) -> dict[str, Any]:
        """List the objects below a prefix; parts that are only names are not among them."""
        below = self._local(path)
        files = [file for file in below.rglob("*") if file.is_file() and not file.name.startswith(".")]
        self._wait("LIST", 1 + len(files) // PAGE)
        sizes = {str(file.relative_to(self.root)): file.stat().st_size for file in files}
        return {name: {"name": name, "size": size, "ETag": f"{size:032x}"} for name, size in sizes.items()}

    def _open(self, path: str, mode: str = "rb", block_size: int = 1 << 20, **options: Any) -> "SlowFile":
        return SlowFile(self, path, mode, block_size, **options)


class SlowFile(AbstractBufferedFile):
    """An object that is read by ranges."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        return bytes(self.fs.cat_file(self.path, start, end))


def list_slow_pages(store: Store, under: str) -> Iterator[dict[str, FileInfo]]:
    """Yield a listing by pages, as a client of an object store does; one request a page, one after the other."""
    yield Store.list(store, under)
    if under or not SlowFileSystem.num_parts:
        return
    for start in range(0, SlowFileSystem.num_parts, PAGE):
        store.fs._wait("LIST")
        numbers = range(start, min(start + PAGE, SlowFileSystem.num_parts))
        yield {name_part(number): FileInfo(PART_BYTES, f"{number:032x}") for number in numbers}


def name_part(number: int) -> str:
    """Return the name of a unit's part, as the plan names it."""
    return f"{number // ROW_GROUPS:05d}-{number % ROW_GROUPS:05d}.parquet"


@click.command(epilog="\b\nExample:\n  python benchmarks/score_plan_scale.py --units 1000000")
@click.option("--units", default=1_000_000, show_default=True, help="Units of the plan, a multiple of 10,000.")
@click.option("--single", default=20_000, show_default=True, help="Single receipts that a killed run has left.")
@click.option("--delay-ms", default=30.0, show_default=True, help="Milliseconds before each answer of the store.")
@click.option("--workdir", default="runs/benchmarks/plan_scale", type=click.Path(path_type=Path), show_default=True)
@click.option("--step", type=click.Choice(STEPS), help="Do one step in this process, after those before it.")
def main(units: int, single: int, delay_ms: float, workdir: Path, step: str | None) -> None:
    """Plan, resume and commit a run, each in a process of its own; print seconds, requests and peak memory of each."""
    root = workdir.resolve() / "store"
    if step is None:
        shutil.rmtree(root, ignore_errors=True)
        for each in STEPS:
            command = [sys.executable, __file__, "--units", units, "--single", single, "--delay-ms", delay_ms]
            subprocess.run([*map(str, command), "--workdir", str(workdir), "--step", each], check=True)
        return
    fsspec.register_implementation("slow", SlowFileSystem)
    SlowFileSystem.root = root
    with mock.patch.object(Store, "iterate_pages", list_slow_pages):
        if step.startswith("prepare-"):
            {"plan": prepare_plan, "resume": prepare_resume, "commit": prepare_commit}[step[8:]](units, single)
            return
        SlowFileSystem.delay_s = 0 if step == "unit" else delay_ms / 1000  # a unit's requests are only counted
        SlowFileSystem.num_parts = 0 if step in ("unit", "plan") else units
        started, cpu = time.monotonic(), time.process_time()
        measure = {"unit": measure_unit, "plan": measure_plan, "resume": measure_resume, "commit": measure_commit}
        found = measure[step](units)
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print_result(
        {"date": datetime.now(UTC).isoformat(timespec="seconds"), "step": step, "units": units}
        | machine()
        | {"delay_ms": delay_ms, "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}
        | {"requests": dict(SlowFileSystem.requests), "peak_mib": peak}
        | found
    )


class NoWork:
    """A worker that writes parts without rows."""

    def enter(self, *, alone: bool) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()

    def run_step(self, *_: Any) -> None:
        """Do nothing."""

    def score(self, unit: Unit, record: Any, target: Path) -> UnitResult:
        """Write a part and count its rows."""
        target.write_bytes(b"PAR1")
        return UnitResult(num_scored=unit.num_rows)


def measure_unit(units: int) -> dict[str, Any]:
    """Finish 100 units and merge their receipts; return the requests of one unit."""
    store, num_units = open_store(f"{OUTPUT}-unit"), 100
    every = (Unit("/in", "1", f"{n}.parquet", (n,), (1,), n, 1, n) for n in range(num_units))
    new = NewPlan(Plan("p", Identity({}, {}, make_file_table([]))), tuple(make_unit_tables(every)))
    with hold_lock(store, OUTPUT) as lock:
        locked = guard(store, OUTPUT, lock)
        plan = write_plan(locked, new)
        reader, requests = UnitReader(store, plan), SlowFileSystem.requests
        reader.read(0)
        requests.clear()
        for number in range(num_units):
            finish_unit(locked, reader.read(number), plan, NoWork())
        finished = dict(requests)
        requests.clear()
        merge_receipts(locked, plan, plan.shards[0])
    return {
        "requests_to_finish": {kind: round(count / num_units, 2) for kind, count in finished.items()},
        "requests_to_merge": {kind: round(count / num_units, 2) for kind, count in requests.items()},
    }


def prepare_plan(units: int, single: int) -> None:
    """Write the input: files with 10,000 row groups of one row."""
    first = SlowFileSystem.root / "bucket/in/00000.parquet"
    first.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table({"text": ["a"] * ROW_GROUPS}), first, row_group_size=1)
    for number in range(1, units // ROW_GROUPS):
        shutil.copyfile(first, first.with_name(f"{number:05d}.parquet"))


def measure_plan(units: int) -> dict[str, Any]:
    """Read all footers, cut the units, and write the plan."""
    store = open_store(OUTPUT)
    names = [f"{number:05d}.parquet" for number in range(units // ROW_GROUPS)]
    files = [InputFile(f"slow://bucket/in/{name}", name, 1, "1") for name in names]
    with ThreadPoolExecutor(16) as pool:
        footers = list(pool.map(lambda file: read_footer(file.path), files))
    table = make_file_table((file.path, file.name, file.bytes, file.version) for file in files)
    config = ScoreConfig(bundle="-", input="-", output=OUTPUT, unit_rows=1)
    with hold_lock(store, OUTPUT) as lock:
        plan = write_plan(guard(store, OUTPUT, lock), make_plan(config, Identity({}, {}, table), files, footers))
    assert plan.num_units == units
    return {"shards": len(plan.shards)}


def prepare_resume(units: int, single: int) -> None:
    """Write the receipts of all units: receipt shards, and single receipts of the last units."""
    store = open_store(OUTPUT)
    plan = _read_plan(store)
    for shard in plan.shards:
        table = read_units(store, shard)
        num_merged = max(0, min(shard.num_units, units - single - shard.first_unit))
        if num_merged:
            _write_receipts(store, plan, shard, table.slice(0, num_merged))
        for number in shard.numbers[num_merged:]:
            write_receipt(store, _make_receipt(plan, table, shard, number))


def measure_resume(units: int) -> dict[str, Any]:
    """Find the units that are finished."""
    store = open_store(OUTPUT)
    finished = find_finished_units(store, _read_plan(store))
    assert finished.has_all and finished.rows == units
    return {"finished": int(finished.is_finished.sum())}


def prepare_commit(units: int, single: int) -> None:
    """Merge the single receipts but for the last hundred, as the tasks of a run do."""
    store = open_store(OUTPUT)
    plan = _read_plan(store)
    with hold_lock(store, OUTPUT) as lock:
        locked = guard(store, OUTPUT, lock)
        for shard in plan.shards:
            merge_receipts(locked, plan, shard)
    last = plan.shards[-1]
    table = read_units(store, last)
    for number in last.numbers[-100:]:
        write_receipt(store, _make_receipt(plan, table, last, number))


def measure_commit(units: int) -> dict[str, Any]:
    """Commit the run."""
    store = open_store(OUTPUT)
    plan = _read_plan(store)
    with hold_lock(store, OUTPUT) as lock:
        locked = guard(store, OUTPUT, lock)

        def merge(shards: list[PlanShard], single: set[str]) -> None:
            for shard in shards:
                merge_receipts(locked, plan, shard, single)

        steps = CommitSteps(0.05, merge, add_to_sink=lambda _: None, summarise=lambda _: Summary({}))  # type: ignore[arg-type]
        manifest = commit(locked, plan, steps)
    assert manifest.num_parts == units
    return {"parts": manifest.num_parts}


def _read_plan(store: Store) -> Plan:
    plan = read_plan(store)
    assert plan
    return plan


def _write_receipts(store: Store, plan: Plan, shard: PlanShard, units: pa.Table) -> None:
    """Write a receipt shard as a merge does, without a Receipt for each unit."""
    count = units.num_rows
    row = make_receipt_table([_make_receipt(plan, units, shard, shard.first_unit)])
    columns = {name: pa.repeat(row[name][0], count) for name in row.column_names if not name.startswith("file_")}
    numbers = list(shard.numbers[:count])
    columns |= {"unit": pa.array(numbers), "part": units["part"], "first_row": units["first_row"]}
    columns |= {"input": units["path"]}
    files = {
        "file_names": units["part"].to_pylist(),
        "file_bytes": [PART_BYTES] * count,
        "file_sha256": [f"{number:064x}" for number in numbers],
        "file_versions": [f"{number:032x}" for number in numbers],
    }
    columns |= {name: [[value] for value in values] for name, values in files.items()}
    one = count_receipt(_make_receipt(plan, units, shard, shard.first_unit))
    totals = replace(one, units=count, parts=count, bytes=count * PART_BYTES, rows=count)
    write_receipt_table(store, plan, shard, pa.table(columns, schema=RECEIPT_SCHEMA), totals)


def _make_receipt(plan: Plan, table: pa.Table, shard: PlanShard, number: int) -> Receipt:
    unit = make_unit(table, number - shard.first_unit, shard.first_unit)
    file = WrittenFile(PART_BYTES, f"{number:064x}", f"{number:032x}")
    return Receipt(
        plan.fingerprint, unit.part, unit.path, unit.first_row, 1, 1, 0, {}, 0, PROFILE, {unit.part: file}, 0,
        f"host-{number % 64}:1", 0.0, 1.0, number,
    )  # fmt: skip


PROFILE = add_profiles(
    [
        {
            "rows": 1,
            "truncated": 0,
            "labels": {"negative": 0, "neutral": 0, "positive": 1},
            "confidence": {f"{index / 20:.2f}-{(index + 1) / 20:.2f}": 0 for index in range(20)},
            "tokens": {"5-8": 1, "9-16": 0, "17-32": 0},
            "script": {"latin": 1},
            "words": {"known": 7, "unknown": 0},
        }
    ]
)
"""Counts of a unit, as long as those of real ones."""


if __name__ == "__main__":
    run(main)

"""Finishes one unit: the order in which a worker writes a unit's files; scores nothing and reads no input itself."""

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.errors import ConfigError, SentimentRayError
from sentiment_ray.file_versions import OtherVersionError
from sentiment_ray.locked_store import LockedStore
from sentiment_ray.manifest import hash_file
from sentiment_ray.retrying import retry_passing
from sentiment_ray.score.aggregation import merge_group_sums
from sentiment_ray.score.columns import make_quarantine_table
from sentiment_ray.score.crash_search import (
    CrashRecord,
    Step,
    abandon_step,
    begin_step,
    forget_record,
    is_suspect,
    read_crash_record,
    run_pending_steps,
)
from sentiment_ray.score.file_tables import Files, WrittenFile
from sentiment_ray.score.output_names import name_group_part, name_quarantine, name_unit_files
from sentiment_ray.score.plan import Plan, Unit
from sentiment_ray.score.receipt_shards import find_receipt
from sentiment_ray.score.receipts import Receipt, write_receipt
from sentiment_ray.score.unit_result import UnitResult

T = TypeVar("T")

SCORE_ATTEMPTS = 3
"""Times that a unit is scored before a fault that may pass ends the run."""


class UnitWork(Protocol):
    """What a worker can do with the rows of a unit."""

    def enter(self, *, alone: bool) -> AbstractContextManager[None]:
        """Work on a unit until the block ends, beside another unit of this process or alone in it."""

    def run_step(self, unit: Unit, step: Step, record: CrashRecord) -> None:
        """Do one step of the search for a row that crashes its process."""

    def score(self, unit: Unit, record: CrashRecord, target: Path) -> UnitResult:
        """Write the part of a unit into a local file."""


def finish_unit(store: LockedStore, unit: Unit, plan: Plan, work: UnitWork, *, gpu: str | None = None) -> Receipt:
    """Return the receipt of a unit: the existing one, or a new one after its files have been written.

    If a worker has crashed over the unit before, the crashing row is searched first; see `crash_search`. StorageError
    after a fault that lasts, and ConfigError when another run has taken the output; neither counts as a crash.
    """
    receipt = find_receipt(store, plan, unit)
    if receipt:
        return receipt
    started_at = store.clock.time()
    record = read_crash_record(store, unit, store.lock.owner)
    is_first_try = record == CrashRecord(run=store.lock.owner)
    with work.enter(alone=is_suspect(record)), store.temporary_file() as temporary, _remove_if_late(store, plan, unit):
        result = _score_or_give_up(store, unit, record, work, temporary)
        # While this worker was slow, Ray may have taken it for dead and given the unit to another one.
        receipt = find_receipt(store, plan, unit)
        if receipt:
            return receipt
        files = _write_files(store, unit, result, None if record.given_up else temporary)
        if not is_first_try:
            _remove_other_files(store, unit, files)
        receipt = _make_receipt(store, unit, plan.fingerprint, result, files, record.crashes, started_at, gpu)
        write_receipt(store, receipt)
    forget_record(store, unit, record)
    return receipt


@contextmanager
def _remove_if_late(store: LockedStore, plan: Plan, unit: Unit) -> Iterator[None]:
    """Where the block finds that the worker has been locked out, remove what the receipt of the unit does not name.

    The worker may have slept for minutes before it wrote, while others finished the unit and committed the run.
    """
    try:
        yield
    except ConfigError:
        receipt = find_receipt(store, plan, unit)
        for name in name_unit_files(unit.part):
            seen = store.describe(name) if receipt and name not in receipt.files else None
            if seen:
                with suppress(OtherVersionError):
                    store.remove_version(name, seen)
        raise


def _score_or_give_up(
    store: LockedStore, unit: Unit, record: CrashRecord, work: UnitWork, temporary: Path
) -> UnitResult:
    def run_step(step: Step) -> None:
        _retry(store, unit, lambda: work.run_step(unit, step, record))

    def score() -> UnitResult:
        return _retry(store, unit, lambda: work.score(unit, record, temporary))

    try:
        run_pending_steps(store, unit, record, run_step)
        if record.given_up:
            result = UnitResult()
            result.quarantine(unit, unit.first_row, unit.num_rows, "scoring these rows together crashes the process")
            return result
        begin_step(store, unit, record, Step("unit", 0, unit.num_rows))
        return score()
    except Exception:
        with suppress(SentimentRayError, OSError):
            abandon_step(store, unit, record)
        raise


def _retry(store: LockedStore, unit: Unit, call: Callable[[], T]) -> T:
    return retry_passing(call, unit.path, clock=store.clock, attempts=SCORE_ATTEMPTS)


def _write_files(store: LockedStore, unit: Unit, result: UnitResult, part: Path | None) -> Files:
    """Write the files of a unit."""
    files = Files()
    if part:
        files[unit.part] = _place(store, part, unit.part)
        if result.group_sums:
            name = name_group_part(unit.part)
            files[name] = _write_table(store, merge_group_sums(result.group_sums), name)
    if result.quarantined:
        name = name_quarantine(unit.part)
        files[name] = _write_table(store, make_quarantine_table(result.quarantined), name)
    return files


def _remove_other_files(store: LockedStore, unit: Unit, files: Files) -> None:
    """Remove what an earlier try has written and this one has not. What is left by chance, the commit removes."""
    for name in name_unit_files(unit.part):
        if name not in files:
            store.remove_file(name)


def _make_receipt(
    store: LockedStore, unit: Unit, fingerprint: str, result: UnitResult, files: Files, crashes: int,
    started_at: float, gpu: str | None,
) -> Receipt:  # fmt: skip
    reasons: Counter[str] = Counter()
    for row in result.quarantined:
        reasons[row["reason"].partition(" (")[0]] += row["rows"]
    quarantined = result.num_quarantined
    if result.num_scored + quarantined != unit.num_rows:
        raise AssertionError(f"{unit.part}: {unit.num_rows} rows in, {result.num_scored} + {quarantined} out")
    return Receipt(
        fingerprint=fingerprint,
        part=unit.part,
        input=unit.path,
        first_row=unit.first_row,
        rows_in=unit.num_rows,
        rows=result.num_scored,
        rows_quarantined=quarantined,
        reasons=dict(sorted(reasons.items())),
        duplicates=result.num_duplicates,
        profile=result.profile,
        files=files,
        unit=unit.number,
        crashes=crashes,
        worker=f"{socket.gethostname()}:{os.getpid()}",
        started_at=started_at,
        seconds=store.clock.time() - started_at,
        gpu=gpu,
    )


def _write_table(store: LockedStore, table: pa.Table, name: str) -> WrittenFile:
    with store.temporary_file() as temporary:
        parquet.write_table(table, temporary, compression="zstd")
        return _place(store, temporary, name)


def _place(store: LockedStore, file: Path, name: str) -> WrittenFile:
    """Give a finished file its name in the output, and describe it as the store shows it afterwards."""
    sha256 = hash_file(file)
    info = store.move_in(file, name)
    return WrittenFile(info.bytes, sha256, info.version)

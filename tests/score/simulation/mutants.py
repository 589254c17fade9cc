"""The protocol with one mend taken out each: the simulation must find every one of these."""

import io
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
from pyarrow import parquet

from sentiment_ray import locked_store, output_lock, storage
from sentiment_ray.file_versions import FileInfo
from sentiment_ray.locked_store import LockedStore
from sentiment_ray.output_lock import Lock
from sentiment_ray.score import (
    commit,
    crash_search,
    finished_units,
    protocol,
    receipt_shards,
    receipts,
    resume,
    unit_protocol,
)
from sentiment_ray.score.plan import Plan, PlanShard
from sentiment_ray.score.receipts import Receipt
from sentiment_ray.score.unit_result import UnitResult
from sentiment_ray.storage import Store
from tests.score.simulation import schedules
from tests.score.simulation.schedules import Command, Scenario
from tests.score.simulation.world import Faults

Patch = tuple[Any, str, Any]
Make = Callable[[], list[Patch]]


@dataclass(frozen=True)
class Mutant:
    """A mend that is taken out, and the scenario in which that shows."""

    make: Make
    scenario: Scenario


MUTANTS: dict[str, Mutant] = {}


def _mutant(**scenario: Any) -> Callable[[Make], Make]:
    def register(make: Make) -> Make:
        MUTANTS[make.__name__.replace("_", " ")] = Mutant(make, Scenario(**scenario))
        return make

    return register


def _run(variant: int, *, is_possible: bool = True, at_s: float = 0.0) -> Command:
    return Command(variant, restart=True, wait=True, is_possible=is_possible, at_s=at_s)


PARSE_SHARD = receipt_shards.parse_receipt_shard
WRITE_SHARD = receipt_shards._write_shard
QUIET = {"read_faults": 0.0, "doubts": 0.0, "loses_files": 0.0}
FIRST_IMPOSSIBLE_AFTER_DONE = ((_run(0), _run(1, is_possible=False)),)
FEWER_PARTS = ((_run(1), _run(0)), (_run(0), _run(1)), (_run(1), _run(0)))
"""What the first plan writes and the second one does not is replaced by no later run."""
RIVALS = ((_run(0), _run(1)), (_run(1), _run(0)), (_run(2),))


@contextmanager
def apply_mutant(name: str) -> Iterator[None]:
    """Take one mend out of the protocol until the block ends."""
    with ExitStack() as stack:
        for owner, attribute, value in MUTANTS[name].make():
            stack.enter_context(mock.patch.object(owner, attribute, value))
        yield


@_mutant(faults=Faults(), people=FIRST_IMPOSSIBLE_AFTER_DONE, **QUIET)
def restart_removes_before_it_plans() -> list[Patch]:
    def run_job(store: Store, job: Any) -> Any:
        plan = protocol.find_same_run(store, job.config, job.identity)
        finished = protocol._find_finished(store, job, plan)
        if finished:
            return protocol.Outcome(finished, skipped=True)
        with output_lock.hold_lock(store, job.config.output, wait=job.config.wait) as lock:
            guarded = locked_store.guard(store, job.config.output, lock)
            if plan is None:
                resume._remove_scores(guarded)
            return protocol._run_under_lock(guarded, job, None)

    return [(schedules, "run_job", run_job)]


@_mutant(faults=Faults(), read_faults=0.5)
def a_fault_of_the_input_is_a_verdict() -> list[Patch]:
    def retry(store: LockedStore, unit: Any, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception:
            result = UnitResult()
            result.quarantine(unit, unit.first_row, unit.num_rows, "this row group cannot be read")
            return result

    return [(unit_protocol, "_retry", retry)]


@_mutant(faults=Faults(), people=((_run(0),),), doubts=0.5)
def a_file_of_an_earlier_try_stays() -> list[Patch]:
    """Neither the worker nor the commit removes it."""
    remove = LockedStore.remove_file

    def remove_file(store: LockedStore, name: str) -> None:
        if not name.startswith("_quarantine/"):
            remove(store, name)

    return [(LockedStore, "remove_file", remove_file)]


@_mutant(faults=Faults(freeze=0.1, slow=0.3), people=((_run(0),),), **QUIET | {"doubts": 0.5})
def commit_does_not_compare() -> list[Patch]:
    return [(commit, "refuse_differences", lambda *_: None)]


@_mutant(faults=Faults(), people=((_run(0),),), loses_files=0.5)
def commit_believes_receipts_whose_files_are_gone() -> list[Patch]:
    return [
        (commit, "refuse_differences", lambda *_: None),
        (receipt_shards, "has_all_files", lambda *_: True),
        (finished_units, "compare_sizes", lambda written, _: (None, np.ones(written.num_rows, np.bool_))),
    ]


@_mutant(faults=Faults(short_put=0.3), people=((_run(0),),))
def an_upload_is_not_looked_at() -> list[Patch]:
    def look(store: Store, name: str, num_bytes: int) -> FileInfo:
        return store.describe(name) or FileInfo(num_bytes, "")

    return [(Store, "_look", look), (commit, "refuse_differences", lambda *_: None)]


@_mutant(faults=Faults(error=0.1))
def a_failing_listing_is_empty() -> list[Patch]:
    list_files = Store.list

    def list_nothing(store: Store, under: str = "") -> dict[str, FileInfo]:
        try:
            return list_files(store, under)
        except Exception:
            return {}

    return [(Store, "list", list_nothing), (storage, "retry_passing", lambda call, what, **_: call())]


@_mutant(faults=Faults(lost_reply=0.2), people=((_run(0),),), **QUIET)
def a_lost_reply_to_the_lock_is_a_rival() -> list[Patch]:
    def create(store: Store, name: str, data: bytes) -> bool:
        def create_once() -> bool:
            try:
                store._create(name, data)
            except FileExistsError:
                return False
            return True

        return store._retry(create_once, name)

    return [(Store, "create", create)]


@_mutant(faults=Faults(conflict=0.5), people=((_run(0),),), **QUIET)
def a_conflict_is_not_tried_again() -> list[Patch]:
    def create(store: Store, name: str, data: bytes) -> bool:
        try:
            store._create(name, data)
        except OSError as error:
            if "409" in str(error):
                raise ValueError("a traceback") from error
            return False
        return True

    return [(Store, "create", create)]


@_mutant(faults=Faults(freeze=0.1, slow=0.2), people=RIVALS, **QUIET)
def nobody_looks_after_creating_a_lock() -> list[Patch]:
    def create_next(store: Store, highest: str, *, follows_release: bool, purpose: str) -> Lock | None:
        number = output_lock._read_number(highest) + 1 if highest else 1
        lock = Lock(f"{output_lock.LOCKS}{number:05d}.json", output_lock.uuid.uuid4().hex, follows_release, purpose)
        if not store.create(lock.name, output_lock._content(store, lock)):
            return None
        for name in output_lock._list_locks(store):
            if name != lock.name:
                store.remove_file(name)
        return lock

    return [(output_lock, "_create_next", create_next)]


@_mutant(faults=Faults(slow=0.6, freeze=0.03), people=RIVALS, **QUIET)
def numbers_of_locks_are_used_again() -> list[Patch]:
    hold = output_lock.hold_lock

    def hold_and_forget(store: Store, output: str, **options: Any) -> Any:
        return hold(store, output, **options | {"keep_number": False})

    return [(protocol, "hold_lock", hold_and_forget), (protocol, "advance_lock", nullcontext)]


@_mutant(faults=Faults(), people=RIVALS, **QUIET)
def clocks_of_two_machines_are_compared() -> list[Patch]:
    def is_dead(holder: dict[str, Any]) -> bool:
        if output_lock._is_here(holder):
            return bool(output_lock._start_time(holder["pid"]) != holder["started"])
        return bool(holder) and time.time() - holder["renewed_at"] > output_lock.STALE_S

    return [(output_lock, "_is_dead_here", is_dead)]


@_mutant(faults=Faults(freeze=0.1), people=RIVALS, **QUIET)
def the_driver_removes_without_a_look_at_the_lock() -> list[Patch]:
    return [
        (LockedStore, "remove", Store.remove),
        (LockedStore, "remove_file", Store.remove_file),
        (LockedStore, "write", Store.write),
    ]


@_mutant(faults=Faults(freeze=0.1), people=((_run(1),), (_run(0),)), **QUIET)
def a_zombie_places_parts() -> list[Patch]:
    return [(LockedStore, "move_in", Store.move_in)]


@_mutant(faults=Faults(), people=((_run(0), _run(2)),), **QUIET)
def receipts_of_another_plan_count() -> list[Patch]:
    read = receipts.read_bare_receipt

    def read_any(store: Store, unit: Any, fingerprint: str) -> Receipt | None:
        try:
            values = receipts.json.loads(store.read(receipts.name_receipt(unit.part)))
            found = receipts.parse_receipt(values | {"fingerprint": fingerprint}, unit.number)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return read(store, unit, fingerprint)
        return found

    return [
        (receipt_shards, "read_bare_receipt", read_any),
        (finished_units, "read_bare_receipt", read_any),
        (receipt_shards, "parse_receipt_shard", _parse_any_shard),
        (resume, "_remove_scores", lambda store: store.remove_file("_SUCCESS")),
    ]


@_mutant(faults=Faults(), people=((_run(0), _run(2)),), **QUIET)
def receipt_shards_of_another_plan_count() -> list[Patch]:
    return [
        (receipt_shards, "parse_receipt_shard", _parse_any_shard),
        (resume, "_remove_scores", lambda store: store.remove_file("_SUCCESS")),
    ]


def _parse_any_shard(data: bytes, fingerprint: str, **options: Any) -> Any:
    metadata = parquet.ParquetFile(io.BytesIO(data)).metadata.metadata
    return PARSE_SHARD(data, metadata[receipt_shards.PLAN_KEY].decode(), **options)


@_mutant(faults=Faults(), people=((_run(1),),), read_faults=0.6, loses_files=0.7, doubts=0.0, is_repeatable=False)
def a_receipt_shard_counts_although_a_single_receipt_is_newer() -> list[Patch]:
    def merge(store: LockedStore, plan: Plan, shard: PlanShard, merged: Iterable[Receipt]) -> None:
        before = receipt_shards.read_receipts(receipt_shards.read_receipt_shard(store, plan, shard), plan.fingerprint)
        kept = {receipt.unit: receipt for receipt in merged} | {receipt.unit: receipt for receipt in before}
        WRITE_SHARD(store, plan, shard, kept.values())

    return [(receipt_shards, "_write_shard", merge)]


@_mutant(faults=Faults(), people=((_run(1),),), **QUIET)
def half_of_a_shard_is_merged() -> list[Patch]:
    def merge(store: LockedStore, plan: Plan, shard: PlanShard, merged: Iterable[Receipt]) -> None:
        WRITE_SHARD(store, plan, shard, [receipt for receipt in merged if receipt.unit % 2 == 0])

    return [(receipt_shards, "_write_shard", merge)]


@_mutant(faults=Faults(kill=0.03), people=((_run(1),),), scores_once=True, **QUIET)
def single_receipts_are_removed_before_the_shard_is_written() -> list[Patch]:
    def merge(store: LockedStore, plan: Plan, shard: PlanShard, merged: Iterable[Receipt]) -> None:
        kept = list(merged)
        for receipt in kept:
            store.remove_file(receipts.name_receipt(receipt.part))
        WRITE_SHARD(store, plan, shard, kept)

    return [(receipt_shards, "_write_shard", merge)]


@_mutant(faults=Faults(kill=0.03, slow=0.3), people=((_run(1),), (_run(0),), (_run(0),)), **QUIET | {"doubts": 0.5})
def a_run_does_not_wait_for_late_writes() -> list[Patch]:
    return [(output_lock, "SETTLE_S", 0.0)]


@_mutant(faults=Faults(late_change=0.1, freeze=0.05), people=((_run(0),), (_run(0),)), **QUIET | {"doubts": 0.5})
def workers_are_not_locked_out_before_the_commit() -> list[Patch]:
    return [(protocol, "advance_lock", nullcontext)]


@_mutant(faults=Faults(), people=((_run(0), _run(1)),), read_faults=0.8)
def a_fault_counts_as_a_crash() -> list[Patch]:
    return [(unit_protocol, "abandon_step", lambda *_: None), (crash_search, "MAX_LOST_RUNS", 1)]


@_mutant(faults=Faults(late_change=0.05), people=RIVALS, **QUIET)
def a_late_write_replaces_what_another_run_has_written() -> list[Patch]:
    def write_version(store: LockedStore, name: str, content: Any, seen: FileInfo | None) -> FileInfo:
        write = Store.write if isinstance(content, bytes) else Store.move_in
        return write(store, *((name, content) if isinstance(content, bytes) else (content, name)))

    return [(LockedStore, "write_version", write_version)]


@_mutant(faults=Faults(late_change=0.3), people=FEWER_PARTS, **QUIET)
def a_late_removal_removes_what_another_run_has_written() -> list[Patch]:
    return [(LockedStore, "_remove_seen", lambda store, file: Store.remove_file(store, file[0]))]


@_mutant(faults=Faults(late_change=0.05), people=RIVALS, **QUIET)
def what_was_written_too_late_stays() -> list[Patch]:
    return [(LockedStore, "_remove_if_late", lambda *_: None)]

"""Receipts are merged a shard at a time: none is lost, none of another plan counts, and the newest one wins."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentiment_ray.inference.drift import add_profiles
from sentiment_ray.locked_store import LockedStore, guard
from sentiment_ray.output_lock import hold_lock
from sentiment_ray.score import plan as plan_module
from sentiment_ray.score.commit import iterate_parts, read_results
from sentiment_ray.score.execution import order_missing_units
from sentiment_ray.score.file_tables import WrittenFile, list_files, make_written_table, read_names
from sentiment_ray.score.finished_units import find_finished_units, find_unmerged_shards
from sentiment_ray.score.identity import Identity, make_file_table
from sentiment_ray.score.output_names import name_receipt, name_receipt_shard
from sentiment_ray.score.plan import NewPlan, Plan, Unit, make_unit_tables
from sentiment_ray.score.plan_file import write_plan
from sentiment_ray.score.receipt_shards import (
    drop_receipts,
    find_receipt,
    merge_receipts,
    read_receipt_shard,
    read_receipts,
)
from sentiment_ray.score.receipts import Receipt, write_receipt
from sentiment_ray.score.totals import add_totals, count_receipt, describe_totals, parse_totals
from sentiment_ray.score.workers import MAX_UNITS_OF_TASK, TASKS_LEFT_PER_WORKER, cut_into_tasks
from sentiment_ray.storage import Store, open_store

NUM_UNITS = 7
UNITS = [Unit("/in", "1", f"in-{n:05d}.parquet", (n,), (10 + n % 3,), 20 * n, 1, n) for n in range(NUM_UNITS)]


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LockedStore]:
    opened = open_store(str(tmp_path))
    with hold_lock(opened, "out") as lock:
        yield guard(opened, "out", lock)


@pytest.fixture
def plan(store: LockedStore, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A plan of seven units in shards of three."""
    monkeypatch.setattr(plan_module, "SHARD_UNITS", 3)
    return write_plan(store, NewPlan(Plan("p", Identity({}, {}, make_file_table([]))), tuple(make_unit_tables(UNITS))))


def _finish(store: Store, unit: Unit, *, fingerprint: str = "p", quarantined: int = 0, worker: str = "a") -> Receipt:
    """Write the part of a unit and its receipt."""
    info = store.write(unit.part, b"PAR1" * (1 + unit.number))
    rows = unit.num_rows - quarantined
    receipt = Receipt(
        fingerprint, unit.part, unit.path, unit.first_row, unit.num_rows, rows, quarantined,
        {"text is null": quarantined} if quarantined else {}, 1, add_profiles([]) | {"rows": rows},
        {unit.part: WrittenFile(info.bytes, "0" * 64, info.version)}, 0, worker, 1.5, 0.5, unit.number,
    )  # fmt: skip
    write_receipt(store, receipt)
    return receipt


def _read_all(store: Store, plan: Plan) -> list[Receipt]:
    shards = (read_receipt_shard(store, plan, shard) for shard in plan.shards)
    return [receipt for shard in shards for receipt in read_receipts(shard, plan.fingerprint)]


def test_merged_receipts_are_those_of_the_workers_and_single_ones_are_gone(store: LockedStore, plan: Plan) -> None:
    written = [_finish(store, unit) for unit in UNITS]
    for shard in plan.shards:
        merge_receipts(store, plan, shard)
    assert _read_all(store, plan) == written
    assert list(store.list("_receipts")) == [name_receipt_shard(index) for index in range(3)]
    assert find_unmerged_shards(store, plan) == ([], set())
    assert find_finished_units(store, plan).has_all
    assert [find_receipt(store, plan, unit) for unit in UNITS] == written
    results = read_results(store, plan)
    assert results.totals == add_totals(map(count_receipt, written))
    assert (results.counts.rows_in, results.counts.rows_scored) == (plan.num_rows, plan.num_rows)
    assert read_names(results.written) == [unit.part for unit in UNITS]
    assert [part.path for part in iterate_parts(store, plan)] == [unit.part for unit in UNITS]


def test_a_single_receipt_replaces_the_one_in_its_shard(store: LockedStore, plan: Plan) -> None:
    for unit in UNITS:
        _finish(store, unit)
    for shard in plan.shards:
        merge_receipts(store, plan, shard)
    newer = _finish(store, UNITS[4], quarantined=2, worker="b")
    assert find_receipt(store, plan, UNITS[4]) == newer
    finished = find_finished_units(store, plan)
    assert (finished.has_all, finished.rows_quarantined) == (True, 2)
    shards, single = find_unmerged_shards(store, plan)
    assert (shards, single) == ([plan.shards[1]], {name_receipt(UNITS[4].part)})
    merge_receipts(store, plan, plan.shards[1], single)
    assert _read_all(store, plan)[4] == newer
    totals = read_results(store, plan).totals
    assert (totals.rows_quarantined, totals.workers["b"].units, totals.workers["a"].units) == (2, 1, 6)


def test_a_merge_that_was_killed_is_done_again(store: LockedStore, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(4):
        written, left = [_finish(store, unit) for unit in UNITS[:3]], [step]

        def die(call: Callable[..., Any], left: list[int] = left) -> Callable[..., Any]:
            def change(*arguments: Any) -> Any:
                if not left[0]:
                    raise Killed
                left[0] -= 1
                return call(*arguments)

            return change

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(LockedStore, "write", die(LockedStore.write))
            patch.setattr(Store, "remove_file", die(Store.remove_file))
            patch.setattr(LockedStore, "map", lambda _, function, items: tuple(map(function, items)))
            merge_receipts(store, plan, plan.shards[0])
        assert find_finished_units(store, plan).is_finished.tolist() == [True] * 3 + [False] * 4
        assert [find_receipt(store, plan, unit) for unit in UNITS[:3]] == written
    merge_receipts(store, plan, plan.shards[0])
    assert _read_all(store, plan) == written


def test_a_receipt_shard_of_another_plan_or_a_damaged_one_does_not_count(store: LockedStore, plan: Plan) -> None:
    for unit in UNITS[:3]:
        _finish(store, unit)
    merge_receipts(store, plan, plan.shards[0])
    other, name = replace(plan, fingerprint="another"), name_receipt_shard(0)
    assert not find_finished_units(store, other).is_finished.any()
    assert find_receipt(store, other, UNITS[0]) is None
    data = store.read(name)
    for position in range(4, len(data), 97):
        changed = bytearray(data)
        changed[position] ^= 1
        store.write(name, bytes(changed))
        found = read_receipt_shard(store, plan, plan.shards[0])
        assert found is None or len(read_receipts(found, "p")) == 3
    store.write(name, data[:-5])
    assert not find_finished_units(store, plan).is_finished.any()
    _finish(store, UNITS[0])
    merge_receipts(store, plan, plan.shards[0])
    assert [receipt.unit for receipt in _read_all(store, plan)] == [0]


def test_units_whose_files_are_missing_or_short_are_not_finished(store: LockedStore, plan: Plan) -> None:
    for unit in UNITS[:5]:
        _finish(store, unit)
    merge_receipts(store, plan, plan.shards[0])
    store.remove_file(UNITS[1].part)
    store.write(UNITS[4].part, b"short")
    finished = find_finished_units(store, plan)
    assert np.flatnonzero(finished.is_finished).tolist() == [0, 2, 3]
    assert finished.rows == sum(UNITS[n].num_rows for n in (0, 2, 3))


def test_dropped_receipts_are_those_of_the_named_units(store: LockedStore, plan: Plan) -> None:
    for unit in UNITS[:5]:
        _finish(store, unit)
    merge_receipts(store, plan, plan.shards[0])
    drop_receipts(store, plan, {1, 4})
    assert np.flatnonzero(find_finished_units(store, plan).is_finished).tolist() == [0, 2, 3]


def test_sums_are_the_same_however_they_are_added(store: LockedStore) -> None:
    receipts = [_finish(store, unit, quarantined=unit.number % 2, worker=f"w{unit.number % 3}") for unit in UNITS]
    one_by_one = add_totals(map(count_receipt, receipts))
    halves = [add_totals(map(count_receipt, some)) for some in (receipts[:3], receipts[3:])]
    assert add_totals(halves) == one_by_one == parse_totals(describe_totals(one_by_one))
    assert (one_by_one.units, one_by_one.reasons) == (7, {"text is null": 3})


def test_units_are_ordered_by_shard_and_in_it_by_size(store: LockedStore, plan: Plan) -> None:
    is_finished = np.array([False, False, False, True, False, False, False])
    assert order_missing_units(store, plan, is_finished).tolist() == [2, 1, 0, 5, 4, 6]


@pytest.mark.parametrize(("num_units", "num_workers"), [(1, 4), (12, 2), (1000, 2), (100_000, 64)])
def test_tasks_are_large_while_many_units_are_left_and_single_at_the_end(num_units: int, num_workers: int) -> None:
    tasks = list(cut_into_tasks(np.arange(num_units), num_workers))
    assert np.concatenate(tasks).tolist() == list(range(num_units))
    sizes = [len(task) for task in tasks]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] <= MAX_UNITS_OF_TASK
    assert sizes[-1] == 1
    at_the_end = TASKS_LEFT_PER_WORKER * (1 + math.log(MAX_UNITS_OF_TASK)) * num_workers
    assert len(tasks) <= num_units / MAX_UNITS_OF_TASK + at_the_end + 1


def test_names_that_are_not_utf8_are_listed(store: LockedStore) -> None:
    store.write("part \udcff.parquet", b"1")
    assert "part \udcff.parquet" in read_names(list_files(store))
    assert read_names(make_written_table({"a\udcff": WrittenFile(1, "0")})) == ["a\udcff"]

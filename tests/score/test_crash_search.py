"""The search for a row that crashes its process ends after few crashes and blames only that row."""

import json
import math
import random
from pathlib import Path

import pytest

from sentiment_ray.score.crash_search import (
    MAX_SEARCHES,
    MAX_UNIT_CRASHES,
    CrashRecord,
    Step,
    begin_step,
    read_crash_record,
    record_name,
    run_pending_steps,
    shrink_batches,
)
from sentiment_ray.score.plan import Unit
from sentiment_ray.storage import Store, open_store


class Crash(Exception):
    """The process ends here."""


def _unit(num_rows: int, row_groups: int = 1) -> Unit:
    return Unit("in.parquet", "1", "in.parquet", tuple(range(row_groups)), (num_rows,) * row_groups, 0)


def _run_worker(store: Store, unit: Unit, run: str, poison: set[int], unreadable: set[int]) -> CrashRecord:
    """Handle a unit as one worker does, and crash over every poisonous row or unreadable row group that it touches."""
    record = read_crash_record(store, unit, run)

    def run_step(step: Step) -> None:
        if step.kind == "read" and step.start in unreadable:
            raise Crash
        rows = set(range(step.start, step.end)) if step.kind == "rows" else set()
        if rows & poison - set(record.bad_rows):
            raise Crash

    run_pending_steps(store, unit, record, run_step)
    if not record.given_up:
        begin_step(store, unit, record, Step("unit", 0, unit.num_rows))
        if poison - set(record.bad_rows) or unreadable - set(record.bad_row_groups):
            raise Crash
    return record


def _run_until_done(
    store: Store, unit: Unit, poison: set[int], unreadable: set[int] | None = None
) -> tuple[CrashRecord, int]:
    """Start workers until one finishes; return its record and the number of crashes."""
    for crashes in range(1000):
        try:
            return _run_worker(store, unit, "run", poison, unreadable or set()), crashes
        except Crash:
            continue
    raise AssertionError("the search does not end")


@pytest.mark.parametrize("num_rows", [1, 2, 3, 15, 16, 17, 100, 256, 257, 4_097, 100_000])
def test_one_row_is_found_in_three_crashes_and_the_logarithm_of_the_rows(num_rows: int, tmp_path: Path) -> None:
    for row in {0, num_rows // 3, num_rows - 1}:
        store = open_store(str(tmp_path / str(row)))
        record, crashes = _run_until_done(store, _unit(num_rows), {row})
        assert record.bad_rows == [row]
        assert crashes <= 3 + math.log2(num_rows)


def test_several_rows_are_found_and_nothing_else(tmp_path: Path) -> None:
    poison = set(random.Random(1).sample(range(2_000), 5))
    record, _ = _run_until_done(open_store(str(tmp_path)), _unit(2_000), poison)
    assert sorted(record.bad_rows) == sorted(poison)
    assert not record.given_up


def test_a_row_group_that_cannot_even_be_read_is_found(tmp_path: Path) -> None:
    record, crashes = _run_until_done(open_store(str(tmp_path)), _unit(100, row_groups=5), set(), {3})
    assert (record.bad_row_groups, record.bad_rows) == ([3], [])
    assert crashes == MAX_UNIT_CRASHES + 2


def test_crashes_with_an_outside_cause_blame_no_row(tmp_path: Path) -> None:
    """Workers are killed at random steps: no row and no row group may be quarantined."""
    generator = random.Random(7)
    for unit_number in range(50):
        store, unit = open_store(str(tmp_path / str(unit_number))), _unit(300)
        for _ in range(generator.randint(1, MAX_UNIT_CRASHES + 1)):
            record = read_crash_record(store, unit, "run")
            kill_after = generator.randint(0, 30)

            def run_step(step: Step, left: list[int] = [kill_after]) -> None:  # noqa: B006
                left[0] -= 1
                if left[0] < 0:
                    raise Crash

            try:
                run_pending_steps(store, unit, record, run_step)
                begin_step(store, unit, record, Step("unit", 0, 300))
            except Crash:
                continue
        record, _ = _run_until_done(store, unit, set())
        assert (record.bad_rows, record.bad_row_groups, record.given_up) == ([], [], False)


def test_a_unit_that_crashes_only_as_a_whole_gets_smaller_batches_and_is_then_given_up(tmp_path: Path) -> None:
    store, unit = open_store(str(tmp_path)), _unit(100)
    sizes = []
    for _ in range(100):
        record = read_crash_record(store, unit, "run")
        run_pending_steps(store, unit, record, lambda step: None)
        if record.given_up:
            break
        sizes.append(shrink_batches(record, 2048))
        begin_step(store, unit, record, Step("unit", 0, 100))
    assert sizes == [2048, 2048, 2048, 2048, 1024, 512][: len(sizes)]
    assert len(sizes) == MAX_UNIT_CRASHES + MAX_SEARCHES


def test_the_end_of_the_whole_run_counts_as_a_crash_only_when_it_repeats(tmp_path: Path) -> None:
    store, unit = open_store(str(tmp_path)), _unit(100)
    for run in ("first", "second"):
        begin_step(store, unit, read_crash_record(store, unit, run), Step("unit", 0, 100))
    assert read_crash_record(store, unit, "third").crashes == 0
    begin_step(store, unit, read_crash_record(store, unit, "third"), Step("unit", 0, 100))
    assert read_crash_record(store, unit, "fourth").crashes == 1


def test_a_record_of_an_earlier_release_is_read_and_written_alike(tmp_path: Path) -> None:
    written = (
        '{"run": "a", "doing": ["rows", 0, 7], "todo": [["rows", 7, 14], ["read", 1, 0]], "crashes": 3, "whole": 2, '
        '"searches": 1, "lost_runs": 0, "alone": {"read 0": 1}, "bad_rows": [50], "bad_row_groups": [], '
        '"given_up": false}'
    )
    store, unit = open_store(str(tmp_path)), _unit(100, row_groups=2)
    store.write(record_name(unit), written.encode())
    record = read_crash_record(store, unit, "another run")
    assert record.pending == [Step("rows", 0, 7), Step("rows", 7, 14), Step("read", 1, 0)]
    assert (record.unit_crashes, record.single_crashes, record.bad_rows) == (2, {"read 0": 1}, [50])
    step = record.pending.pop(0)
    begin_step(store, unit, record, step)
    expected = json.loads(written) | {"run": "another run", "lost_runs": 1}
    assert json.loads(store.read(record_name(unit))) == expected
    assert list(json.loads(store.read(record_name(unit)))) == list(expected)

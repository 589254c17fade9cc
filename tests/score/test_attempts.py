"""The search for a row that ends its process: few deaths, only the guilty, and an end whatever happens."""

import math
import random
from pathlib import Path

import pytest

from sentiment_ray.score.attempts import (
    MAX_SEARCHES,
    WHOLE_ATTEMPTS,
    Attempts,
    Step,
    begin,
    read_attempts,
    survive,
    tokens_per_batch,
)
from sentiment_ray.score.plan import Unit
from sentiment_ray.storage import Store, open_store


class Death(Exception):
    """The process ends here."""


def _unit(num_rows: int, row_groups: int = 1) -> Unit:
    return Unit("in.parquet", "1", "in.parquet", tuple(range(row_groups)), (num_rows,) * row_groups, 0)


def _live_once(store: Store, unit: Unit, run: str, poison: set[int], unreadable: set[int]) -> Attempts:
    """What one process does with a unit; it dies of a poisonous row or an unreadable row group that it touches."""
    attempts = read_attempts(store, unit, run)

    def try_step(step: Step) -> None:
        kind, start, end = step
        if kind == "read" and start in unreadable:
            raise Death
        rows = set(range(start, end)) if kind == "rows" else set()
        if rows & poison - set(attempts.bad_rows):
            raise Death

    survive(store, unit, attempts, try_step)
    if not attempts.given_up:
        begin(store, unit, attempts, ("unit", 0, unit.num_rows))
        if poison - set(attempts.bad_rows) or unreadable - set(attempts.bad_row_groups):
            raise Death
    return attempts


def _live(store: Store, unit: Unit, poison: set[int], unreadable: set[int] = frozenset()) -> tuple[Attempts, int]:  # type: ignore[assignment]
    """Start processes until one finishes, and return what is known then and the number of deaths."""
    for deaths in range(1000):
        try:
            return _live_once(store, unit, "run", poison, unreadable), deaths
        except Death:
            continue
    raise AssertionError("it never ends")


@pytest.mark.parametrize("num_rows", [1, 2, 3, 15, 16, 17, 100, 256, 257, 4_097, 100_000])
def test_one_row_is_found_in_three_deaths_and_the_logarithm_of_the_rows(num_rows: int, tmp_path: Path) -> None:
    for row in {0, num_rows // 3, num_rows - 1}:
        store = open_store(str(tmp_path / str(row)))
        attempts, deaths = _live(store, _unit(num_rows), {row})
        assert attempts.bad_rows == [row]
        assert deaths <= 3 + math.log2(num_rows)


def test_several_rows_are_found_and_nothing_else(tmp_path: Path) -> None:
    poison = set(random.Random(1).sample(range(2_000), 5))
    attempts, _ = _live(open_store(str(tmp_path)), _unit(2_000), poison)
    assert sorted(attempts.bad_rows) == sorted(poison)
    assert not attempts.given_up


def test_a_row_group_that_cannot_even_be_read_is_found(tmp_path: Path) -> None:
    attempts, deaths = _live(open_store(str(tmp_path)), _unit(100, row_groups=5), set(), {3})
    assert (attempts.bad_row_groups, attempts.bad_rows) == ([3], [])
    assert deaths == WHOLE_ATTEMPTS + 2


def test_deaths_from_outside_accuse_no_row(tmp_path: Path) -> None:
    """Processes are killed at random steps: every row and row group is innocent and must be found so."""
    generator = random.Random(7)
    for unit_number in range(50):
        store, unit = open_store(str(tmp_path / str(unit_number))), _unit(300)
        for _ in range(generator.randint(1, WHOLE_ATTEMPTS + 1)):
            attempts = read_attempts(store, unit, "run")
            kill_after = generator.randint(0, 30)

            def try_step(step: Step, left: list[int] = [kill_after]) -> None:  # noqa: B006
                left[0] -= 1
                if left[0] < 0:
                    raise Death

            try:
                survive(store, unit, attempts, try_step)
                begin(store, unit, attempts, ("unit", 0, 300))
            except Death:
                continue
        attempts, _ = _live(store, unit, set())
        assert (attempts.bad_rows, attempts.bad_row_groups, attempts.given_up) == ([], [], False)


def test_a_unit_that_dies_only_as_a_whole_gets_smaller_batches_and_is_then_given_up(tmp_path: Path) -> None:
    store, unit = open_store(str(tmp_path)), _unit(100)
    sizes = []
    for _ in range(100):
        attempts = read_attempts(store, unit, "run")
        survive(store, unit, attempts, lambda step: None)
        if attempts.given_up:
            break
        sizes.append(tokens_per_batch(attempts, 2048))
        begin(store, unit, attempts, ("unit", 0, 100))
    assert sizes == [2048, 2048, 2048, 2048, 1024, 512][: len(sizes)]
    assert len(sizes) == WHOLE_ATTEMPTS + MAX_SEARCHES


def test_the_end_of_the_whole_run_is_no_death_of_the_unit_until_it_repeats(tmp_path: Path) -> None:
    store, unit = open_store(str(tmp_path)), _unit(100)
    for run in ("first", "second"):
        begin(store, unit, read_attempts(store, unit, run), ("unit", 0, 100))
    assert read_attempts(store, unit, "third").crashes == 0
    begin(store, unit, read_attempts(store, unit, "third"), ("unit", 0, 100))
    assert read_attempts(store, unit, "fourth").crashes == 1

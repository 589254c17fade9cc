"""The protocol of scoring keeps its promises in every schedule, and in some it does not when a mend is taken out.

A schedule is a number. To look into one: `run_schedule(number)` returns what happened.
"""

import pytest

from tests.score.simulation.mutants import MUTANTS, apply_mutant
from tests.score.simulation.schedules import Violation, run_schedule
from tests.score.simulation.world import Stuck

MAX_SEEDS = 300
"""Schedules in which each mutant must be found. Most are found in the first ten."""


@pytest.mark.parametrize("first", range(0, 1000, 250))
def test_every_promise_holds_in_a_thousand_schedules(first: int) -> None:
    for seed in range(first, first + 250):
        run_schedule(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 21000, 1000))
def test_every_promise_holds_in_twenty_thousand_schedules(first: int) -> None:
    for seed in range(first, first + 1000):
        run_schedule(seed)


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mend_is_needed(name: str) -> None:
    """A schedule of the mutant's scenario breaks a promise, and without the mutant the same schedule keeps it."""
    for seed in range(MAX_SEEDS):
        with apply_mutant(name):
            try:
                run_schedule(seed, MUTANTS[name].scenario)
                continue
            except (Violation, Stuck):
                pass
        run_schedule(seed, MUTANTS[name].scenario)
        return
    raise AssertionError(f"{name}: {MAX_SEEDS} schedules keep every promise")

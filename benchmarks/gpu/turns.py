"""Times contenders in turns: in every round each runs once, so that a ratio compares runs of one round."""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.gpu.results import Results, describe_error
from benchmarks.gpu.setting import Setting
from benchmarks.harness import spread

WARM_UP_RUNS = 2
"""The first run of a contender loads libraries and makes plans. The last of these tells how many rows fill a run."""


@dataclass(frozen=True)
class Work:
    """What a run did: an amount of tokens or of rows, and the seconds that it took."""

    amount: float
    seconds: float


Contender = Callable[[int], Work]
"""Trains on or scores a number of rows."""


@dataclass
class Measured:
    """The runs of a contender: rows of each run, the amount a second in each round, and why it was given up."""

    num_rows: int = 0
    rates: dict[int, float] = field(default_factory=dict)
    error: str | None = None


def run_in_turns(
    contenders: Mapping[str, Contender], *, rounds: int, run_s: float, first_rows: int, max_rows: int
) -> Iterator[dict[str, Measured]]:
    """Run each contender once in every round, and yield what was measured so far after each.

    A run has as many rows as the contender can do in `run_s` seconds, `first_rows` at least and `max_rows` at most. A
    contender that fails is left out from then on.
    """
    measured = {name: Measured() for name in contenders}
    for name, contender in contenders.items():
        measured[name].num_rows = min(first_rows, max_rows)
        for _ in range(WARM_UP_RUNS):
            work = _run_once(contender, measured[name])
        if work:
            wanted = int(measured[name].num_rows * run_s / max(work.seconds, 1e-6))
            measured[name].num_rows = min(max(wanted, first_rows), max_rows)
    for number in range(rounds):
        for name, contender in contenders.items():
            work = _run_once(contender, measured[name])
            if work:
                measured[name].rates[number] = work.amount / work.seconds
        yield measured


def _run_once(contender: Contender, measured: Measured) -> Work | None:
    """Return the work of a run, or None when the contender has failed, now or before."""
    if measured.error:
        return None
    try:
        return contender(measured.num_rows)
    except Exception as error:
        traceback.print_exc()
        measured.error = describe_error(error)
        return None


def measure_in_turns(
    setting: Setting,
    results: Results,
    contenders: Mapping[str, Contender],
    unit: str,
    *,
    ours: str,
    first_rows: int,
    max_rows: int,
    **figures: Callable[[float], float | None],
) -> None:
    """Run contenders in turns (see `run_in_turns`), and after each round add their results so far (see `add_results`).

    A measurement that is stopped has the results of the rounds before.
    """
    limits = {"first_rows": first_rows, "max_rows": max_rows}
    for measured in run_in_turns(contenders, rounds=setting.rounds, run_s=setting.run_s, **limits):
        add_results(results, measured, unit, ours=ours, **figures)


def add_results(
    results: Results,
    measured: Mapping[str, Measured],
    unit: str,
    *,
    ours: str,
    **figures: Callable[[float], float | None],
) -> None:
    """Add a line for each contender: the spread of its rate, and that of the ratio of `ours` to it.

    There is no ratio where `ours` was not measured. `unit` is the name of the rate. `figures` map the name of a further
    figure to a function of the median rate, which may return None where the figure is unknown.
    """
    own_rates = measured[ours].rates if ours in measured else {}
    for name, each in measured.items():
        if each.error:
            results.add(name, error=each.error)
            continue
        line: dict[str, Any] = {unit: spread(list(each.rates.values())), "rows": each.num_rows}
        further = {key: compute(line[unit]["median"]) for key, compute in figures.items() if each.rates}
        line |= {key: figure for key, figure in further.items() if figure is not None}
        if name != ours:
            line["ours_faster"] = spread(
                [own_rates[number] / rate for number, rate in each.rates.items() if number in own_rates]
            )
        results.add(name, **line)


def time_call(function: Callable[[], object]) -> float:
    """Return the seconds of a call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started

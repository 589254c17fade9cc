"""Finds the row that ends the process which scores it, by what is written down before each step; scores nothing itself.

A process that dies cannot say why. So before a step that may end it, the step is written to the output's `_plan/`;
whoever takes the unit up again reads there what the last one was about to do. The first deaths may have come from
outside (a lost node, a full memory), so a unit is tried again as a whole. Then its row groups are read one by one, and
its rows tried in sixteenths, in sixteenths of the one that killed, and so on until one row has killed twice alone: that
row is quarantined. Tries are thrown away: once they are all survived the unit is scored as a whole, as if nothing had
happened, so its part has the same bytes whatever died on the way.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from sentiment_ray.score.plan import Unit
from sentiment_ray.storage import Store

WHOLE_ATTEMPTS = 2
"""Deaths of a unit scored as a whole before its rows are searched."""
ALONE_ATTEMPTS = 2
"""Deaths of a row tried alone, or of a row group read alone, before it is quarantined."""
FAN_OUT = 16
"""Pieces that a range of rows is cut into."""
MAX_SEARCHES = 4
"""Searches that find nothing although the unit dies as a whole, before all of it is quarantined."""
LOST_RUNS = 3
"""Ends of the whole run during one step before the step is blamed for them."""

Step = tuple[str, int, int]
"""`("unit", 0, rows)`, `("read", row group, 0)` or `("rows", from, to)`: rows are counted from the unit's first."""


@dataclass
class Attempts:
    """What is known of a unit: the step that was begun and not ended, the steps to do, and what was found out."""

    run: str = ""
    doing: Step | None = None
    todo: list[Step] = field(default_factory=list)
    crashes: int = 0
    whole: int = 0
    searches: int = 0
    lost_runs: int = 0
    alone: dict[str, int] = field(default_factory=dict)
    bad_rows: list[int] = field(default_factory=list)
    bad_row_groups: list[int] = field(default_factory=list)
    given_up: bool = False


def attempts_name(unit: Unit) -> str:
    """Return the name of the file with a unit's attempts."""
    return f"_plan/attempts/{unit.part}.json"


def read_attempts(store: Store, unit: Unit, run: str) -> Attempts:
    """Return what is known of a unit, a step that was begun and not ended counted as a death.

    It is not counted when the run that began it is another one, which took its processes with it when it ended.
    """
    try:
        value = json.loads(store.read(attempts_name(unit)))
    except FileNotFoundError:
        return Attempts(run=run)
    value["todo"] = [tuple(step) for step in value["todo"]]
    attempts = Attempts(**value)
    if attempts.doing is not None:
        step: Step = tuple(attempts.doing)  # type: ignore[assignment]
        attempts.doing = None
        attempts.lost_runs = attempts.lost_runs + 1 if attempts.run != run else 0
        if attempts.run == run or attempts.lost_runs >= LOST_RUNS:
            _count_death(attempts, step, unit)
        elif step[0] != "unit":
            attempts.todo.insert(0, step)
    attempts.run = run
    return attempts


def tokens_per_batch(attempts: Attempts, configured: int) -> int:
    """Return the tokens of a batch: halved for every search that found nothing after the first two.

    Memory is then the likely reason that the unit dies.
    """
    return max(1, configured >> max(0, attempts.searches - 2))


def survive(store: Store, unit: Unit, attempts: Attempts, try_step: Callable[[Step], None]) -> None:
    """Do the steps that are left, each written down before it is begun; `try_step` may end the process.

    Afterwards the unit can be scored as a whole, without the rows and row groups that were found out.
    """
    while attempts.todo and not attempts.given_up:
        step = attempts.todo.pop(0)
        begin(store, unit, attempts, step)
        try_step(step)
        attempts.doing = None


def begin(store: Store, unit: Unit, attempts: Attempts, step: Step) -> None:
    """Write down that a step is begun."""
    attempts.doing = step
    store.write(attempts_name(unit), json.dumps(asdict(attempts)).encode())


def _count_death(attempts: Attempts, step: Step, unit: Unit) -> None:
    attempts.crashes += 1
    attempts.lost_runs = 0
    kind, start, end = step
    if kind == "unit":
        attempts.whole += 1
        if attempts.whole >= WHOLE_ATTEMPTS:
            attempts.searches += 1
            attempts.given_up = attempts.searches > MAX_SEARCHES
            attempts.todo = [("read", index, 0) for index in unit.row_groups if index not in attempts.bad_row_groups]
            attempts.todo += _cut(0, unit.num_rows) if unit.num_rows > 1 else [("rows", 0, 1)]
            if unit.num_rows == 1:
                attempts.alone["rows 0"] = max(attempts.alone.get("rows 0", 0), 1)
    elif kind == "rows" and end - start > 1:
        attempts.todo = _cut(start, end) + attempts.todo
    else:
        key = f"{kind} {start}"
        attempts.alone[key] = attempts.alone.get(key, 0) + 1
        if attempts.alone[key] < ALONE_ATTEMPTS:
            attempts.todo.insert(0, step)
        elif kind == "rows":
            attempts.bad_rows.append(start)
        else:
            attempts.bad_row_groups.append(start)


def _cut(start: int, end: int) -> list[Step]:
    size = max(1, -(-(end - start) // FAN_OUT))
    return [("rows", at, min(at + size, end)) for at in range(start, end, size)]

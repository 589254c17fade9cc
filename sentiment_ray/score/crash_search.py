"""Finds the row that crashes the process that scores it; scores nothing itself.

A process that crashes cannot say why. So before each risky step a worker writes the step to `_plan/attempts/`. The
worker that gets the unit next reads there what its predecessor was doing, and concludes:

1. The first crashes may have an outside cause (a lost node, full memory), so the unit is scored as a whole again.
2. After two such crashes a search begins. Each row group is read alone, and the rows are scored in sixteen pieces.
   A piece that crashes the process is cut into sixteen again, until a single row is left.
3. A row, or a row group, that crashes the process twice when it is alone is quarantined.
4. Results of the search are thrown away. At its end the unit is scored as a whole without the quarantined rows, so its
   part has the same bytes whatever crashed on the way.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from sentiment_ray.manifest import format_json
from sentiment_ray.score.output_names import CRASH_RECORDS
from sentiment_ray.score.plan import Unit
from sentiment_ray.storage import Store

MAX_UNIT_CRASHES = 2
"""Crashes of a unit that is scored as a whole before its rows are searched."""
MAX_SINGLE_CRASHES = 2
"""Crashes of a row that is scored alone, or of a row group that is read alone, before it is quarantined."""
NUM_PIECES = 16
"""Pieces that a range of rows is cut into."""
MAX_SEARCHES = 4
"""Searches that find nothing although the whole unit crashes, before all of it is quarantined."""
MAX_LOST_RUNS = 3
"""Times that the whole run may end during one step before the step is blamed."""


class Step(NamedTuple):
    """One risky step: `("unit", 0, rows)`, `("read", row group, 0)` or `("rows", from, to)`.

    Rows are counted from the first row of the unit.
    """

    kind: str
    start: int
    end: int


@dataclass
class CrashRecord:
    """What the workers of a unit have learned so far, across crashes."""

    run: str = ""
    """Owner of the run's lock; another owner means that the run itself was started again."""
    current: Step | None = None
    """Step that was begun and not ended."""
    pending: list[Step] = field(default_factory=list)
    """Steps of the search that are still to do."""
    crashes: int = 0
    """All crashes."""
    unit_crashes: int = 0
    """Crashes while the unit was scored as a whole."""
    searches: int = 0
    """Searches that were begun."""
    lost_runs: int = 0
    """Times in a row that the whole run ended during a step."""
    single_crashes: dict[str, int] = field(default_factory=dict)
    """Crashes of single rows and row groups, by `rows 17` or `read 3`."""
    bad_rows: list[int] = field(default_factory=list)
    bad_row_groups: list[int] = field(default_factory=list)
    given_up: bool = False
    """Whether the whole unit is quarantined."""


FILE_KEYS = {"current": "doing", "pending": "todo", "unit_crashes": "whole", "single_crashes": "alone"}
"""Fields of a CrashRecord that have another name in its file."""


def record_name(unit: Unit) -> str:
    """Return the name of the file with a unit's crash record."""
    return f"{CRASH_RECORDS}/{unit.part}.json"


def read_crash_record(store: Store, unit: Unit, run: str) -> CrashRecord:
    """Return what is known of a unit. A step that was begun and not ended counts as a crash.

    It does not count when another run began it: that run took its workers with it when it ended.
    """
    try:
        values = json.loads(store.read(record_name(unit)))
    except FileNotFoundError:
        return CrashRecord(run=run)
    record = CrashRecord(**{name: values[FILE_KEYS.get(name, name)] for name in CrashRecord.__dataclass_fields__})
    record.pending = [Step(*step) for step in record.pending]
    if record.current is not None:
        step, record.current = Step(*record.current), None
        record.lost_runs = record.lost_runs + 1 if record.run != run else 0
        if record.run == run or record.lost_runs >= MAX_LOST_RUNS:
            _count_crash(record, step, unit)
        elif step.kind != "unit":
            record.pending.insert(0, step)
    record.run = run
    return record


def has_seen_death(store: Store) -> bool:
    """Whether a worker has died over a unit, so that its last writes may come late."""

    def tells_of_crash(name: str) -> bool:
        try:
            return bool(json.loads(store.read(name))["crashes"])
        except FileNotFoundError:  # a worker has just removed it
            return False

    return any(store.map(tells_of_crash, list(store.list(CRASH_RECORDS))))


def is_suspect(record: CrashRecord) -> bool:
    """Whether a worker or a whole run has ended during the unit, so that it must be in work alone in its process."""
    return record.crashes > 0 or record.lost_runs > 0


def shrink_batches(record: CrashRecord, tokens_per_batch: int) -> int:
    """Return the tokens of a batch: halved for every search after the second that found no row.

    The unit then probably crashes for lack of memory.
    """
    return max(1, tokens_per_batch >> max(0, record.searches - 2))


def run_pending_steps(store: Store, unit: Unit, record: CrashRecord, run_step: Callable[[Step], None]) -> None:
    """Run the steps of the search that are left, each recorded before it begins; `run_step` may end the process.

    Afterwards the unit can be scored as a whole without the recorded bad rows and row groups.
    """
    while record.pending and not record.given_up:
        step = record.pending.pop(0)
        begin_step(store, unit, record, step)
        run_step(step)
        record.current = None


def begin_step(store: Store, unit: Unit, record: CrashRecord, step: Step) -> None:
    """Record durably that a step begins."""
    record.current = step
    _write_record(store, unit, record)


def abandon_step(store: Store, unit: Unit, record: CrashRecord) -> None:
    """Record durably that a step ended with an error that the process survived: it is no crash, and is to do again."""
    if record.current is not None and record.current.kind != "unit":
        record.pending.insert(0, record.current)
    record.current = None
    _write_record(store, unit, record)


def forget_record(store: Store, unit: Unit, record: CrashRecord) -> None:
    """Remove the record of a unit that is done, unless it tells of a crash or another worker has written it since."""
    if not record.crashes:
        with suppress(FileNotFoundError):
            if store.read(record_name(unit)) == _format_record(record):
                store.remove_file(record_name(unit))


def _write_record(store: Store, unit: Unit, record: CrashRecord) -> None:
    store.write(record_name(unit), _format_record(record))


def _format_record(record: CrashRecord) -> bytes:
    return format_json({FILE_KEYS.get(name, name): value for name, value in vars(record).items()}).encode()


def _count_crash(record: CrashRecord, step: Step, unit: Unit) -> None:
    """Record a crash during a step, and plan the steps that follow from it."""
    record.crashes += 1
    record.lost_runs = 0
    if step.kind == "unit":
        record.unit_crashes += 1
        if record.unit_crashes >= MAX_UNIT_CRASHES:
            _begin_search(record, unit)
    elif step.kind == "rows" and step.end - step.start > 1:
        record.pending = _cut(step.start, step.end) + record.pending
    else:
        key = f"{step.kind} {step.start}"
        record.single_crashes[key] = record.single_crashes.get(key, 0) + 1
        if record.single_crashes[key] < MAX_SINGLE_CRASHES:
            record.pending.insert(0, step)
        elif step.kind == "rows":
            record.bad_rows.append(step.start)
        else:
            record.bad_row_groups.append(step.start)


def _begin_search(record: CrashRecord, unit: Unit) -> None:
    record.searches += 1
    record.given_up = record.searches > MAX_SEARCHES
    record.pending = [Step("read", index, 0) for index in unit.row_groups if index not in record.bad_row_groups]
    record.pending += _cut(0, unit.num_rows) if unit.num_rows > 1 else [Step("rows", 0, 1)]
    if unit.num_rows == 1:
        record.single_crashes["rows 0"] = max(record.single_crashes.get("rows 0", 0), 1)


def _cut(start: int, end: int) -> list[Step]:
    size = max(1, -(-(end - start) // NUM_PIECES))
    return [Step("rows", at, min(at + size, end)) for at in range(start, end, size)]

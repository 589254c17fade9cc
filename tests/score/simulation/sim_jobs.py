"""Jobs of the simulation: the real protocol around units whose scores are a line of text."""

import functools
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sentiment_ray.errors import DataError, SentimentRayError
from sentiment_ray.locked_store import LockedStore, guard
from sentiment_ray.score.commit import RunResults, Summary, describe_bytes
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.crash_search import CrashRecord, Step
from sentiment_ray.score.finished_units import FinishedUnits
from sentiment_ray.score.identity import Identity, fingerprint_run, make_file_table
from sentiment_ray.score.pins import Pins
from sentiment_ray.score.plan import NewPlan, Plan, PlanShard, Unit, make_unit_tables
from sentiment_ray.score.plan_file import UnitReader
from sentiment_ray.score.receipt_shards import merge_receipts
from sentiment_ray.score.receipts import Receipt
from sentiment_ray.score.scores_manifest import ScoresManifest
from sentiment_ray.score.unit_protocol import finish_unit
from sentiment_ray.score.unit_result import UnitResult
from sentiment_ray.storage import Store
from tests.score.simulation.world import Process, StoreError, World, WorldClock, WorldFileSystem

ROOT = "bucket/run[1]"
PINS = Pins("1", "1", "1", "fp32")
ROWS = 3
TAKEN_FOR_DEAD_S = 90.0
MAX_DEATHS, MAX_DEATHS_OF_POISON = 3, 1
"""Processes that may die over a unit by chance: after many deaths the search rightly blames a row or the unit."""


@dataclass(frozen=True)
class Shape:
    """How a plan cuts its input: the name of each unit's part."""

    parts: tuple[str, ...]
    null_part: str
    """The part whose second row has no text."""
    poison_part: str | None
    """The part whose last row crashes the process that scores it."""


SHAPES = {
    0: Shape(("a.parquet", "b.parquet"), "a.parquet", None),
    1: Shape(("a.parquet", "b-00000.parquet", "b-00001.parquet"), "b-00000.parquet", None),
    2: Shape(("a.parquet", "b.parquet"), "b.parquet", "a.parquet"),
}


def make_store(world: World) -> Store:
    """Return the output as a process of the world opens it."""
    return Store(WorldFileSystem(world), ROOT, WorldClock(world), 1)  # type: ignore[arg-type]


@functools.cache
def make_sim_plan(variant: int) -> NewPlan:
    """Return the plan of a variant of the configuration."""
    files = make_file_table([("/in", "in", 1, "1")])
    identity = Identity({"bundle_id": "b", "padded_lengths": "exact"}, {"variant": variant}, files)
    plan = Plan(fingerprint_run(identity, PINS), identity, pins=PINS)
    return NewPlan(plan, tuple(make_unit_tables(list_sim_units(variant))))


def list_sim_units(variant: int) -> list[Unit]:
    """Return the units of a variant."""
    parts = SHAPES[variant].parts
    return [Unit("/in", "1", part, (0,), (ROWS,), number * ROWS, 1, number) for number, part in enumerate(parts)]


def part_content(plan: str, part: str, attempt: int = 0) -> bytes:
    """Return the bytes of a part; those of two plans, and of two tries, have one length."""
    return f"part of plan {plan} {part} {attempt % 10}".encode()


def list_bad_rows(variant: int, part: str) -> list[int]:
    """Return the rows of a part that must be quarantined."""
    shape = SHAPES[variant]
    return ([1] if part == shape.null_part else []) + ([ROWS - 1] if part == shape.poison_part else [])


@dataclass(frozen=True)
class SimWork:
    """A worker's hands: it writes a line of text for the rows of a unit, and crashes over a poisonous row."""

    world: World
    variant: int
    plan: str
    read_faults: float
    doubts: float
    is_repeatable: bool
    scores_once: bool

    def enter(self, *, alone: bool) -> AbstractContextManager[None]:
        return nullcontext()

    def run_step(self, unit: Unit, step: Step, record: CrashRecord) -> None:
        if step.kind == "rows":
            self._touch(unit, range(step.start, step.end), record)

    def score(self, unit: Unit, record: CrashRecord, target: Path) -> UnitResult:
        if self.scores_once and self.plan + unit.part in self.world.finished:
            raise AssertionError(f"{unit.part} is finished, and is scored again")
        self.world.sleep(self.world.chance.uniform(0, 5))
        self.world.freeze_by_chance()
        self._touch(unit, range(ROWS), record)
        if self.world.happens(self.read_faults):
            raise StoreError("the input cannot be read now")
        attempt = 0 if self.is_repeatable else self.world.chance.randrange(10)
        target.write_bytes(part_content(self.plan, unit.part, attempt))
        result = UnitResult()
        bad = {*list_bad_rows(self.variant, unit.part), *record.bad_rows}
        # What another try will not find again; this try ends before its receipt.
        if self.world.current.can_die and self.world.happens(self.doubts):
            self.world.current.dies_before = "/_receipts/"
            bad.add(0)
        for row in sorted(bad):
            result.quarantine(unit, unit.first_row + row, 1, "text is null")
        result.num_scored = ROWS - len(result.quarantined)
        return result

    def _touch(self, unit: Unit, rows: Sequence[int], record: CrashRecord) -> None:
        if unit.part == SHAPES[self.variant].poison_part and ROWS - 1 in rows and ROWS - 1 not in record.bad_rows:
            self.world.kill(self.world.current)


def _raise_errors(processes: Sequence[Process]) -> None:
    """Raise the first error that a person can mend; any other one is a fault of the protocol."""
    for process in processes:
        if isinstance(process.error, SentimentRayError):
            raise process.error
        assert process.error is None, process.error


@dataclass
class SimJob:
    """A job of the world; its workers are processes on two hosts, which it starts again as Ray does."""

    world: World
    variant: int
    config: ScoreConfig
    is_possible: bool = True
    read_faults: float = 0.0
    loses_files: float = 0.0
    doubts: float = 0.0
    is_repeatable: bool = True
    """Whether two tries of a unit write the same bytes."""
    scores_once: bool = False
    """Whether it is a fault to score a unit again that was finished."""
    unfinished: set[str] = field(default_factory=set)
    """Parts that the workers still write; a file that is lost later than that is no fault of the commit."""

    @property
    def identity(self) -> Identity:
        return make_sim_plan(self.variant).plan.identity

    def start(self) -> None:
        """Do nothing: there is no cluster."""

    def plan(self) -> NewPlan:
        self.world.sleep(self.world.chance.uniform(0, 20))
        if not self.is_possible:
            raise DataError("None of 1 files can be scored.")
        return make_sim_plan(self.variant)

    def measure_pins(self) -> Pins:
        return PINS

    def is_in_sink(self, manifest: ScoresManifest) -> bool:
        return True

    def add_to_sink(self, store: LockedStore, results: RunResults) -> None:
        """Do nothing: there is no table."""

    def summarise(self, store: LockedStore, results: RunResults) -> Summary:
        data = f"{results.counts.rows_in} rows of plan {results.plan.fingerprint}".encode()
        store.write("_report.json", data)
        return Summary({"_report.json": describe_bytes(data)})

    def merge_receipts(self, store: LockedStore, plan: Plan, shards: Sequence[PlanShard], single: set[str]) -> None:
        for shard in shards:
            merge_receipts(store, plan, shard, single)

    def score_units(self, store: LockedStore, plan: Plan, finished: FinishedUnits) -> None:
        """Give each unit to a process, and again when this has died or seems dead, until all have left a receipt."""
        world, reader = self.world, UnitReader(store, plan)
        missing = [reader.read(number) for number in np.flatnonzero(~finished.is_finished).tolist()]
        running = {unit.part: [self._start_worker(store, plan, unit)] for unit in missing}
        self.unfinished = set(running)
        units, since = {unit.part: unit for unit in missing}, dict.fromkeys(running, world.now)
        merges: list[Process] = []
        while running:
            world.sleep(2.0)
            for part, workers in list(running.items()):
                _raise_errors(workers)
                if any(worker.result for worker in workers):
                    del running[part]
                    self.unfinished.discard(part)
                    merges += self._merge_if_finished(store, plan, units[part], [units[name] for name in running])
                elif not workers[-1].is_alive or world.now - since[part] > TAKEN_FOR_DEAD_S:
                    workers.append(self._start_worker(store, plan, units[part]))
                    since[part] = world.now
        ends_at = world.now + TAKEN_FOR_DEAD_S
        while any(merge.is_alive for merge in merges) and world.now < ends_at:
            world.sleep(2.0)
        _raise_errors(merges)

    def _merge_if_finished(self, store: LockedStore, plan: Plan, unit: Unit, left: Sequence[Unit]) -> list[Process]:
        """Merge the receipts of a unit's shard in a process, if other shards are left; the commit merges the others."""
        shard = plan.find_shard(unit.number)
        is_last = not left or any(other.number in shard.numbers for other in left)
        return [] if is_last else [self._start_merge(store, plan, shard)]

    def _start_merge(self, store: LockedStore, plan: Plan, shard: PlanShard) -> Process:
        world, driver = self.world, self.world.current

        def run() -> None:
            merge_receipts(guard(make_store(world), ROOT, store.lock), plan, shard)
            if world.happens(self.loses_files) and self.unfinished:
                world.objects.pop(f"{ROOT}/{SHAPES[self.variant].parts[shard.first_unit]}", None)

        return world.start(f"{driver.name} merge of {shard.name}", "host-2", run, parent=driver)

    def _start_worker(self, store: LockedStore, plan: Plan, unit: Unit) -> Process:
        world, driver = self.world, self.world.current
        work = SimWork(
            world, self.variant, plan.fingerprint, self.read_faults, self.doubts, self.is_repeatable, self.scores_once
        )

        def run() -> Receipt:
            receipt = finish_unit(guard(make_store(world), ROOT, store.lock), unit, plan, work)
            world.finished.add(plan.fingerprint + unit.part)
            if world.happens(self.loses_files) and unit.part in self.unfinished:
                world.objects.pop(f"{ROOT}/{unit.part}", None)
            return receipt

        host = world.chance.choice(["host-1", "host-2"])
        worker = world.start(f"{driver.name} worker of {unit.part}", host, run, parent=driver)  # type: ignore[arg-type]
        deaths = world.deaths[plan.fingerprint + unit.part]
        worker.can_die = deaths < (MAX_DEATHS_OF_POISON if SHAPES[self.variant].poison_part else MAX_DEATHS)
        worker.counts_as = plan.fingerprint + unit.part
        return worker

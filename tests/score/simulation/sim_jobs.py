"""Jobs of the simulation: the real protocol around units whose scores are a line of text."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentiment_ray.errors import DataError, SentimentRayError
from sentiment_ray.manifest import fingerprint
from sentiment_ray.output_lock import LockedStore, guard
from sentiment_ray.score.commit import Summary, describe_bytes
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.crash_search import CrashRecord, Step
from sentiment_ray.score.pins import Pins
from sentiment_ray.score.plan import Plan, Unit
from sentiment_ray.score.receipts import Receipt
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


def make_sim_plan(variant: int) -> Plan:
    """Return the plan of a variant of the configuration."""
    identity = {
        "bundle": {"bundle_id": "b", "padded_lengths": "exact"}, "settings": {"variant": variant},
        "files": [{"path": "/in", "name": "in", "bytes": 1, "version": "1"}],
    }  # fmt: skip
    units = [Unit("/in", "1", part, (0,), (ROWS,), index * ROWS) for index, part in enumerate(SHAPES[variant].parts)]
    return Plan(fingerprint(identity), identity, units, [], pins=PINS)


def part_content(plan: str, part: str) -> bytes:
    """Return the bytes of a part; those of two plans have one length."""
    return f"part of plan {plan} {part}".encode()


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

    def enter(self, *, alone: bool) -> AbstractContextManager[None]:
        return nullcontext()

    def run_step(self, unit: Unit, step: Step, record: CrashRecord) -> None:
        if step.kind == "rows":
            self._touch(unit, range(step.start, step.end), record)

    def score(self, unit: Unit, record: CrashRecord, target: Path) -> UnitResult:
        self.world.sleep(self.world.chance.uniform(0, 5))
        self.world.freeze_by_chance()
        self._touch(unit, range(ROWS), record)
        if self.world.happens(self.read_faults):
            raise StoreError("the input cannot be read now")
        target.write_bytes(part_content(self.plan, unit.part))
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
    unfinished: set[str] = field(default_factory=set)
    """Parts that the workers still write; a file that is lost later than that is no fault of the commit."""

    @property
    def identity(self) -> dict[str, Any]:
        return make_sim_plan(self.variant).identity

    def start(self) -> None:
        """Do nothing: there is no cluster."""

    def plan(self) -> Plan:
        self.world.sleep(self.world.chance.uniform(0, 20))
        if not self.is_possible:
            raise DataError("None of 1 files can be scored.")
        return make_sim_plan(self.variant)

    def measure_pins(self) -> Pins:
        return PINS

    def is_in_sink(self, manifest: dict[str, Any]) -> bool:
        return True

    def add_to_sink(self, store: LockedStore, plan: Plan, parts: list[dict[str, Any]]) -> None:
        """Do nothing: there is no table."""

    def summarise(self, store: LockedStore, plan: Plan, receipts: Sequence[Receipt], counts: dict[str, Any]) -> Summary:
        data = f"{counts['rows_in']} rows of plan {plan.fingerprint}".encode()
        store.write("_report.json", data)
        return Summary({"_report.json": describe_bytes(data)}, {"format_version": 1})

    def score_units(self, store: LockedStore, plan: Plan, missing: Sequence[Unit]) -> None:
        """Give each unit to a process, and again when this has died or seems dead, until all have left a receipt."""
        world = self.world
        running = {unit.part: [self._start_worker(store, plan, unit)] for unit in missing}
        self.unfinished = set(running)
        units, since = {unit.part: unit for unit in missing}, dict.fromkeys(running, world.now)
        while running:
            world.sleep(2.0)
            for part, workers in list(running.items()):
                for worker in workers:
                    if isinstance(worker.error, SentimentRayError):
                        raise worker.error
                    assert worker.error is None, worker.error
                if any(worker.result for worker in workers):
                    del running[part]
                    self.unfinished.discard(part)
                elif not workers[-1].is_alive or world.now - since[part] > TAKEN_FOR_DEAD_S:
                    workers.append(self._start_worker(store, plan, units[part]))
                    since[part] = world.now

    def _start_worker(self, store: LockedStore, plan: Plan, unit: Unit) -> Process:
        world, driver = self.world, self.world.current
        work = SimWork(world, self.variant, plan.fingerprint, self.read_faults, self.doubts)

        def run() -> Receipt:
            receipt = finish_unit(guard(make_store(world), ROOT, store.lock), unit, plan.fingerprint, work)
            if world.happens(self.loses_files) and unit.part in self.unfinished:
                world.objects.pop(f"{ROOT}/{unit.part}", None)
            return receipt

        host = world.chance.choice(["host-1", "host-2"])
        worker = world.start(f"{driver.name} worker of {unit.part}", host, run, parent=driver)  # type: ignore[arg-type]
        deaths = world.deaths[plan.fingerprint + unit.part]
        worker.can_die = deaths < (MAX_DEATHS_OF_POISON if SHAPES[self.variant].poison_part else MAX_DEATHS)
        worker.counts_as = plan.fingerprint + unit.part
        return worker

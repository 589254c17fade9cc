"""Schedules: what people start, what goes wrong meanwhile, and what must hold afterwards."""

import hashlib
import io
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pyarrow as pa
from greenlet import getcurrent
from pyarrow import parquet

from sentiment_ray import log, output_lock
from sentiment_ray.errors import DataError, SentimentRayError
from sentiment_ray.score import compare, resume
from sentiment_ray.score import plan as plan_module
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.output_names import REPLACED_NAME
from sentiment_ray.score.protocol import run_job
from sentiment_ray.score.receipt_shards import parse_receipt_shard, read_receipts
from sentiment_ray.storage import Store
from tests.score.simulation.sim_jobs import (
    ROOT,
    ROWS,
    SimJob,
    list_bad_rows,
    list_sim_units,
    make_sim_plan,
    make_store,
    part_content,
)
from tests.score.simulation.world import Faults, Process, World

HOSTS = ("host-1", "host-2", "host-3")
MAX_STARTS = 5
IN_MEMORY = "/dev/shm"
CALM = Faults()


class Violation(AssertionError):
    """A promise of the protocol was broken."""


@dataclass(frozen=True)
class Command:
    """What a person starts, and starts again when it ends with an error that may pass."""

    variant: int
    restart: bool
    wait: bool
    is_possible: bool
    at_s: float


@dataclass(frozen=True)
class Scenario:
    """What a schedule is about; what is None is left to chance."""

    faults: Faults | None = None
    people: tuple[tuple[Command, ...], ...] | None = None
    """The commands of each person, in their order."""
    read_faults: float | None = None
    doubts: float | None = None
    loses_files: float | None = None
    is_repeatable: bool = True
    """Whether two tries of a unit write the same bytes."""
    scores_once: bool = False
    """Whether it is a fault to score a unit again that was finished."""


def run_schedule(seed: int, scenario: Scenario = Scenario()) -> list[str]:
    """Let several runs share one output amid disturbances, and then one in peace; return what happened.

    Violation when a promise is broken, Stuck when the runs do not end.
    """
    generator = random.Random(seed)
    world = World(seed, scenario.faults or _choose_faults(generator))
    with _in_world(world):
        try:
            people = [_start_person(world, scenario, *each) for each in _choose_people(generator, scenario)]
            world.run()
            for person in people:
                if person.error:
                    raise person.error
            _check_output(world, "after the disturbed runs")
            world.faults = CALM
            variant = generator.randrange(3)
            outcome = _run_in_peace(world, variant)
            if outcome.error:
                raise Violation(f"the run in peace ended with {outcome.error!r}")
            _check_output(world, "after the run in peace", variant)
        except BaseException as error:
            error.add_note(f"seed {seed}: {world.faults}\n" + "\n".join(world.log[-40:]))
            raise
        finally:
            world.close()
    return world.log


def _choose_people(generator: random.Random, scenario: Scenario) -> Iterator[tuple[int, tuple[Command, ...], float]]:
    """Yield the number of each person, their commands, and how far their clocks are off."""
    if scenario.people is None:
        for index in range(generator.choice([1, 1, 2, 3])):
            commands = tuple(_choose_command(generator) for _ in range(generator.choice([1, 1, 2, 3])))
            yield index, commands, generator.uniform(-300, 300)
    for index, commands in enumerate(scenario.people or ()):
        yield index, commands, generator.uniform(-300, 300)


def _choose_faults(generator: random.Random) -> Faults:
    """Return the disturbances of a schedule: a few kinds, each often enough to meet a step of the protocol."""
    kinds = {
        "error": 0.04, "lost_reply": 0.03, "short_put": 0.1, "conflict": 0.3, "kill": 0.01, "freeze": 0.02,
        "slow": 0.1, "late_change": 0.01,
    }  # fmt: skip
    chosen = generator.sample(sorted(kinds), generator.randint(0, 4))
    return Faults(**{kind: kinds[kind] for kind in chosen})


def _choose_command(generator: random.Random) -> Command:
    return Command(
        variant=generator.randrange(3),
        restart=generator.random() < 0.7,
        wait=generator.random() < 0.7,
        is_possible=generator.random() < 0.85,
        at_s=generator.choice([0.0, generator.uniform(0, 30), generator.uniform(0, 300)]),
    )


def _check_refusal(world: World, driver: Process) -> None:
    """Raise Violation when a run was refused or stopped without a reason."""
    message, faults = str(driver.error), world.faults
    if "already holds" in message or "without a plan" in message:
        raise Violation(f"{driver.name} takes the output for a foreign one: {message}")
    is_calm = faults == CALM
    if is_calm and ("is not the file that was written" in message or "or its receipt is missing" in message):
        raise Violation(f"{driver.name} does not find what the workers wrote: {message}")
    if "taken over" in message:
        if _find_holder(world).ended_at < driver.started_at:
            raise Violation(f"{driver.name} was stopped by a run that had ended before it began")
        if not (faults.freeze or faults.late_change or faults.error or faults.lost_reply or faults.slow):
            raise Violation(f"{driver.name} was stopped although it was never late")


def _start_person(
    world: World, scenario: Scenario, index: int, commands: tuple[Command, ...], skew_s: float
) -> Process:
    """Start a person, who starts one command after the other, each on a host whose clock is off."""

    def body() -> None:
        for number, command in enumerate(commands):
            world.sleep(command.at_s)
            _run_until_ended(world, f"run {index}.{number}", _make_job(world, scenario, command), skew_s)

    person = world.start(f"person {index}", "desk", body)
    person.can_die = False
    return person


def _run_until_ended(world: World, name: str, job: SimJob, skew_s: float) -> None:
    """Start a command, and again elsewhere when it was killed or when its fault may pass."""
    person = name.partition(".")[0]
    for start in range(MAX_STARTS):
        before, others = _read_finished(world), world.changes.total() - world.changes[person]
        host = world.chance.choice(HOSTS)
        driver = world.start(f"{name}.{start}", host, _make_driver(world, job), skew_s=skew_s)
        while driver.is_alive:
            world.sleep(10.0)
        world.log.append(f"{world.now:.1f} {driver.name} ends: {driver.error or driver.result or 'killed'}")
        is_alone = world.changes.total() - world.changes[person] == others
        if isinstance(driver.error, DataError) and before and is_alone and _read_finished(world) != before:
            raise Violation("a run that could not be planned has changed a finished output")
        if driver.error is not None and not isinstance(driver.error, SentimentRayError):
            raise Violation(f"{driver.name} ended with {driver.error!r}") from driver.error
        _check_refusal(world, driver)
        if driver.result or getattr(driver.error, "exit_code", 1) == 2:
            return
        world.sleep(world.chance.choice([0.0, 5.0, 200.0]))


def _make_driver(world: World, job: SimJob) -> Any:
    def drive() -> str:
        outcome = run_job(make_store(world), job)
        return "skipped" if outcome.skipped else "done"

    return drive


def _make_job(world: World, scenario: Scenario, command: Command) -> SimJob:
    def choose(value: float | None, *choices: float) -> float:
        chosen = world.chance.choice(choices)
        return chosen if value is None else value

    config = ScoreConfig(
        bundle="b", input="/in", output=ROOT, restart=command.restart, wait=command.wait, max_quarantined=1
    )
    return SimJob(
        world,
        command.variant,
        config,
        command.is_possible,
        read_faults=choose(scenario.read_faults, 0.0, 0.2, 0.7),
        loses_files=choose(scenario.loses_files, 0.0, 0.0, 0.1),
        doubts=choose(scenario.doubts, 0.0, 0.0, 0.3),
        is_repeatable=scenario.is_repeatable,
        scores_once=scenario.scores_once,
    )


def _run_in_peace(world: World, variant: int) -> Process:
    command = Command(variant, restart=True, wait=True, is_possible=True, at_s=0.0)
    job = _make_job(world, Scenario(read_faults=0.0, loses_files=0.0, doubts=0.0), command)
    for _ in range(3):  # a run that finds damage ends by name, and the same command mends it
        driver = world.start("run in peace", "host-1", _make_driver(world, job))
        world.run()
        if driver.error is None or getattr(driver.error, "exit_code", 0) != 1:
            break
    return driver


def _find_holder(world: World) -> Process:
    """Return the process that the highest lock names."""
    highest = max(name for name in world.objects if name.startswith(f"{ROOT}/_plan/lock-"))
    pid = json.loads(world.objects[highest].data)["pid"]
    return next(process for process in world.processes if process.pid == pid)


def _is_part(store: Store, name: str) -> bool:
    try:
        return store.read(name).startswith(b"part of plan")
    except FileNotFoundError:
        return True


def _read_finished(world: World) -> dict[str, bytes] | None:
    """Return the bytes of a finished output that count for somebody; None for an unfinished one."""
    if f"{ROOT}/_SUCCESS" not in world.objects:
        return None
    files = {name: found.data for name, found in world.objects.items()}
    return {name: data for name, data in files.items() if not _is_harmless(name.removeprefix(f"{ROOT}/"))}


def _check_output(world: World, when: str, variant: int | None = None) -> None:
    """Raise Violation unless the output is unfinished, or holds exactly the rows of its plan, each once."""
    files = {name.removeprefix(f"{ROOT}/"): found.data for name, found in world.objects.items()}
    stamp, data = files.get("_SUCCESS"), files.get("_MANIFEST.json", b"")
    if stamp is None or stamp.decode().strip() != hashlib.sha256(data).hexdigest():
        if variant is not None:
            raise Violation(f"the output is not finished {when}")
        return
    manifest = json.loads(data)
    plans = {make_sim_plan(each).plan.fingerprint: each for each in range(3)}
    plan, own = manifest["fingerprint"], plans[manifest["fingerprint"]]
    if variant not in (None, own):
        raise Violation(f"the output holds variant {own}, not {variant}, {when}")
    for name, entry in manifest["files"].items():
        if name not in files or hashlib.sha256(files[name]).hexdigest() != entry["sha256"]:
            raise Violation(f"{name} is missing or not what the manifest says {when}")
    known = {*manifest["files"], "_SUCCESS", "_MANIFEST.json"}
    for name in manifest["receipts"]:
        shard = parse_receipt_shard(files[name], plan)
        if shard is None:
            raise Violation(f"{name} is no receipt shard of the plan {when}")
        known |= {file for receipt in read_receipts(shard, plan) for file in receipt.files}
    extra = [name for name in files if name not in known and not _is_harmless(name)]
    if extra:
        raise Violation(f"{extra} belong to no unit {when}")
    for unit in list_sim_units(own):
        _check_unit(files, plan, unit.part, list_bad_rows(own, unit.part), unit.first_row, when)


def _is_harmless(name: str) -> bool:
    """Whether a file in a finished output harms nobody: a lock, or a late crash record or single receipt.

    A run that is killed just after it has said that it replaces the output leaves the output finished, and its mark.
    """
    is_single_receipt = name.startswith("_receipts/") and name.endswith(".json")
    is_mark = output_lock.is_lock_name(name) or name == REPLACED_NAME
    return is_mark or name.startswith("_plan/attempts/") or is_single_receipt


def _check_unit(files: dict[str, bytes], plan: str, part: str, bad_rows: list[int], first_row: int, when: str) -> None:
    if files.get(part) not in [part_content(plan, part, attempt) for attempt in range(10)]:
        raise Violation(f"{part} is not the part of this plan {when}")
    quarantine = files.get(f"_quarantine/{part}")
    try:
        rows = parquet.ParquetFile(io.BytesIO(quarantine)).read().to_pylist() if quarantine else []
    except pa.ArrowInvalid as error:
        raise Violation(f"_quarantine/{part} is damaged {when}: {error}") from error
    if [row["row"] - first_row for row in rows] != bad_rows or any(row["rows"] != 1 for row in rows):
        raise Violation(f"{part}: the rows {rows} are quarantined, and not {bad_rows} of {ROWS}, {when}")


@contextmanager
def _in_world(world: World) -> Iterator[None]:
    """Let the lock see the hosts and processes of the world, and keep lines for people off the screen."""

    def describe() -> dict[str, Any]:
        process = world.current
        return {"host": process.host, "boot": 1, "namespace": "", "pid": process.pid, "started": float(process.pid)}

    def start_time(pid: int) -> float | None:
        return float(pid) if any(each.pid == pid and each.is_alive for each in world.processes) else None

    real_time = time.time

    def tell_time() -> float:
        """The time of the process that asks; other threads of the tests, such as those of a service, have their own."""
        process = getattr(getcurrent(), "process", None)
        return world.now + process.skew_s if process else real_time()

    random.seed(world.seed)
    with (
        mock.patch.object(output_lock, "_describe_process", describe),
        mock.patch.object(output_lock, "_start_time", start_time),
        mock.patch.object(output_lock.uuid, "uuid4", lambda: mock.Mock(hex=f"{world.chance.getrandbits(64):x}")),
        mock.patch.object(compare, "is_part", _is_part),
        mock.patch.object(resume, "is_part", _is_part),
        mock.patch.object(plan_module, "SHARD_UNITS", 2),
        mock.patch.object(tempfile, "tempdir", IN_MEMORY if os.path.isdir(IN_MEMORY) else None),
        mock.patch.object(time, "time", tell_time),
        mock.patch.object(log, "notify", lambda message, **_: world.log.append(message)),
    ):
        yield

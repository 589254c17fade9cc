"""The order of a run, with a job that needs neither Ray nor a model, on a local disk."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from sentiment_ray import locked_store
from sentiment_ray.errors import ConfigError, DataError, StorageError
from sentiment_ray.locked_store import LockedStore, advance_lock, guard
from sentiment_ray.output_lock import hold_lock
from sentiment_ray.score import resume, unit_protocol
from sentiment_ray.score.columns import PLAN_KEY
from sentiment_ray.score.commit import RunResults, Summary, describe_bytes
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.crash_search import CrashRecord, Step, read_crash_record
from sentiment_ray.score.finished_units import FinishedUnits
from sentiment_ray.score.identity import Identity, make_file_table
from sentiment_ray.score.pins import Pins, read_pins
from sentiment_ray.score.plan import NewPlan, Plan, PlanShard, Unit, make_unit_tables
from sentiment_ray.score.plan_file import UnitReader
from sentiment_ray.score.protocol import run_job
from sentiment_ray.score.receipt_shards import merge_receipts
from sentiment_ray.score.receipts import Receipt
from sentiment_ray.score.resume import find_same_run, find_same_run_unlocked
from sentiment_ray.score.scores_manifest import ScoresManifest
from sentiment_ray.score.unit_protocol import finish_unit
from sentiment_ray.score.unit_result import UnitResult
from sentiment_ray.storage import Store, open_store

PINS = Pins("1", "1", "1", "fp32")
SHARDS = (PlanShard(0, "_plan/units-00000.parquet", 0, 1, 2, 1, ""),)
PLAN = Plan("p", Identity({}, {}, make_file_table([])), shards=SHARDS)
PARTS = ("a.parquet", "b.parquet")


@dataclass
class LocalWork:
    """Writes a part of two rows; `quarantines` sets the second one aside, `fault` is raised instead."""

    quarantines: bool = False
    fault: Exception | None = None
    tries: int = 0

    def enter(self, *, alone: bool) -> AbstractContextManager[None]:
        return nullcontext()

    def run_step(self, unit: Unit, step: Step, record: CrashRecord) -> None:
        """Do nothing: no row crashes a process here."""

    def score(self, unit: Unit, record: CrashRecord, target: Path) -> UnitResult:
        self.tries += 1
        if self.fault:
            raise self.fault
        texts = ["good"] if self.quarantines else ["good", "bad"]
        parquet.write_table(pa.table({"text": texts}).replace_schema_metadata({PLAN_KEY: b"p"}), target)
        result = UnitResult(num_scored=len(texts))
        if self.quarantines:
            result.quarantine(unit, unit.first_row + 1, 1, "text is null")
        return result


@dataclass
class LocalJob:
    """A job of two units that are scored in this process; `disturb` is called before the commit."""

    config: ScoreConfig
    pins: Pins = PINS
    is_possible: bool = True
    work: LocalWork = field(default_factory=LocalWork)
    disturb: Callable[[], object] = lambda: None
    version: str = "1"

    @property
    def identity(self) -> Identity:
        return Identity({"padded_lengths": "exact"}, {}, make_file_table([("/in", "in", 1, self.version)]))

    def start(self) -> None:
        """Do nothing: there is no cluster."""

    def plan(self) -> NewPlan:
        if not self.is_possible:
            raise DataError("the column 'bodies' is missing. None of 1 files can be scored.")
        units = [Unit("/in", "1", part, (0,), (2,), 2 * index, 1, index) for index, part in enumerate(PARTS)]
        plan = Plan(f"plan of {self.version}", self.identity, pins=self.pins)
        return NewPlan(plan, tuple(make_unit_tables(units)))

    def measure_pins(self) -> Pins:
        return self.pins

    def is_in_sink(self, manifest: ScoresManifest) -> bool:
        return True

    def score_units(self, store: LockedStore, plan: Plan, finished: FinishedUnits) -> None:
        reader = UnitReader(store, plan)
        for number in np.flatnonzero(~finished.is_finished).tolist():
            finish_unit(store, reader.read(number), plan, self.work)

    def merge_receipts(self, store: LockedStore, plan: Plan, shards: Sequence[PlanShard], single: set[str]) -> None:
        for shard in shards:
            merge_receipts(store, plan, shard, single)

    def add_to_sink(self, store: LockedStore, results: RunResults) -> None:
        self.disturb()

    def summarise(self, store: LockedStore, results: RunResults) -> Summary:
        store.write("_report.json", b"{}")
        return Summary({"_report.json": describe_bytes(b"{}")})


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., LocalJob]:
    def make(**values: Any) -> LocalJob:
        keys = {name: values.pop(name) for name in ("restart", "repair", "wait") if name in values}
        output = str(tmp_path / "out")
        return LocalJob(ScoreConfig(bundle="b", input="/in", output=output, max_quarantined=1, **keys), **values)

    return make


def _contents(output: str) -> dict[str, bytes]:
    files = (path for path in Path(output).rglob("*") if path.is_file() and not path.name.startswith("lock-"))
    return {str(path.relative_to(output)): path.read_bytes() for path in files}


def _run(job: LocalJob) -> bool:
    return not run_job(open_store(job.config.output), job).skipped


def test_a_run_that_cannot_be_planned_leaves_no_trace(make: Callable[..., LocalJob]) -> None:
    job = make(is_possible=False)
    with pytest.raises(DataError, match="None of 1 files"):
        _run(job)
    assert not Path(job.config.output).exists()
    assert _run(make())
    before = _contents(job.config.output)
    with pytest.raises(DataError, match="None of 1 files"):
        _run(make(is_possible=False, version="2", restart=True))
    assert _contents(job.config.output) == before
    assert not _run(make())


def test_a_finished_output_has_no_directory_for_temporary_files(make: Callable[..., LocalJob]) -> None:
    job = make()
    assert _run(job)
    assert sorted(path.name for path in Path(job.config.output).iterdir()) == [
        "_MANIFEST.json", "_SUCCESS", "_plan", "_receipts", "_report.json", "a.parquet", "b.parquet",
    ]  # fmt: skip


def test_restart_reads_no_byte_of_finished_scores_and_repair_reads_all(
    make: Callable[..., LocalJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make()
    assert _run(job)
    part = Path(job.config.output, "a.parquet")
    before = part.read_bytes()
    part.write_bytes(before[:10] + bytes([before[10] ^ 1]) + before[11:])
    assert not _run(make(restart=True))
    assert _run(make(repair=True))
    assert part.read_bytes() == before
    assert not _run(make(repair=True))


def test_repair_removes_a_file_that_belongs_to_no_unit(make: Callable[..., LocalJob]) -> None:
    job = make()
    assert _run(job)
    stale = Path(job.config.output, "_quarantine/a.parquet")
    stale.parent.mkdir()
    parquet.write_table(pa.table({"row": [1]}), stale)
    assert _run(make(repair=True))
    assert not stale.exists()


@pytest.mark.parametrize(
    ("disturb", "found"),
    [
        (lambda out: (out / "b.parquet").unlink(), "b.parquet is missing"),
        (lambda out: (out / "b.parquet").write_bytes(b"half"), "b.parquet has 4 bytes, and"),
        (lambda out: _flip(out / "b.parquet"), "b.parquet is not the file that was written"),
        (lambda out: (out / "_receipts/units-00000.parquet").unlink(), "_receipts/units-00000.parquet is missing"),
        (lambda out: (out / "notes.txt").write_text("mine"), "holds 'notes.txt', which no run wrote"),
    ],
    ids=["missing", "short", "changed", "without a receipt", "foreign"],
)
def test_commit_names_what_is_not_as_it_was_written(
    disturb: Callable[[Path], object], found: str, make: Callable[..., LocalJob]
) -> None:
    job = make()
    job.disturb = lambda: disturb(Path(job.config.output))
    with pytest.raises((StorageError, ConfigError), match=found):
        _run(job)
    output = Path(job.config.output)
    assert not (output / "_SUCCESS").exists()
    (output / "notes.txt").unlink(missing_ok=True)
    again = make()
    assert _run(again)
    assert again.work.tries == (0 if "notes" in found else 2 if "_receipts" in found else 1)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8] ^= 1
    path.write_bytes(data)


def test_what_a_worker_of_an_older_plan_has_left_is_removed(make: Callable[..., LocalJob]) -> None:
    job = make()

    def leave() -> None:
        output = Path(job.config.output)
        table = pa.table({"text": ["late"]}).replace_schema_metadata({PLAN_KEY: b"an older plan"})
        parquet.write_table(table, output / "older-00001.parquet")
        (output / "_receipts/older.json").write_text("{}")

    job.disturb = leave
    assert _run(job)
    assert not [name for name in _contents(job.config.output) if "older" in name]


def test_same_bytes_that_were_written_again_are_accepted(make: Callable[..., LocalJob]) -> None:
    job = make()
    part = Path(job.config.output, "a.parquet")
    job.disturb = lambda: part.write_bytes(part.read_bytes())
    assert _run(job)


def test_other_versions_are_refused_when_units_are_missing(make: Callable[..., LocalJob]) -> None:
    job, other = make(), Pins("2", "1", "1", "fp32")
    assert _run(job)
    assert not _run(make(pins=other)), "nothing is to be scored"
    output = Path(job.config.output)
    (output / "_SUCCESS").unlink()
    (output / "a.parquet").unlink()
    with pytest.raises(ConfigError, match="the engine's version was '1' and is '2' on .* or pass --restart"):
        _run(make(pins=other))
    plan = json.loads((output / "_plan/plan.json").read_text())
    del plan["pins"]
    (output / "_plan/plan.json").write_text(json.dumps(plan))
    with pytest.raises(ConfigError, match="an earlier release began it"):
        _run(make())
    assert _run(make(pins=other, restart=True))


def test_the_precision_of_openvino_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    from sentiment_ray.inference.hardware import Processor

    found = {}
    for flags in ((), ("avx512_bf16",), ("avx512_bf16", "amx_bf16")):
        processor = Processor("a processor", frozenset(flags))
        monkeypatch.setattr("sentiment_ray.score.pins.read_processor", lambda processor=processor: processor)
        found[flags] = read_pins("openvino")
    assert [pins.precision for pins in found.values()] == ["fp32", "bf16 with avx512_bf16", "bf16 with amx_bf16"]
    assert all(pins.engine and pins.tokenizers and pins.pyarrow for pins in found.values())
    assert "precision was 'fp32' and is 'bf16 with" in str(found[()].describe_difference(read_pins("openvino")))


def test_an_output_that_another_run_replaces_is_judged_only_under_the_lock(
    make: Callable[..., LocalJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the plan of the other run is written, or after it was read, its files look like those of a person."""
    job = make()
    store, config = open_store(job.config.output), job.config
    store.write("a.parquet", b"of another run")
    refused = pytest.raises(ConfigError, match=r"already holds 'a.parquet' and no scores")
    with refused:
        find_same_run_unlocked(store, config, job.identity)
    with hold_lock(store, "out"):
        assert find_same_run_unlocked(store, config, job.identity) is None
        with refused:
            find_same_run(store, config, job.identity)
    with refused:
        find_same_run_unlocked(store, config, job.identity)

    def find_while_another_run_comes_and_goes(*arguments: Any) -> Any:
        with hold_lock(store, "out"):
            return find_same_run(*arguments)

    monkeypatch.setattr(resume, "find_same_run", find_while_another_run_comes_and_goes)
    assert find_same_run_unlocked(store, config, job.identity) is None


def test_what_a_late_worker_of_a_replaced_run_has_written_is_no_file_of_a_person(
    make: Callable[..., LocalJob], tmp_path: Path
) -> None:
    """A run died while it replaced another one, and a worker of that one was late: there are files and no plan."""
    job = make()
    store = open_store(job.config.output)
    store.write("_receipts/a.parquet.json", b"{}")
    store.write("_quarantine/a.parquet", b"late")
    assert _run(job)
    other = make(restart=True, version="2")
    parquet.write_table(pa.table({"text": ["late"]}).replace_schema_metadata({PLAN_KEY: b"p"}), tmp_path / "late")
    for name in ("_SUCCESS", "_MANIFEST.json", "_report.json", "_plan/plan.json"):
        store.remove_file(name)
    store.move_in(tmp_path / "late", "late.parquet")
    with pytest.raises(ConfigError, match=r"holds parts of a run that has no plan\. .* pass --restart"):
        _run(make(version="2"))
    assert _run(other)
    assert "late.parquet" not in store.list()


def test_scores_that_a_run_has_begun_to_replace_are_not_resumed(make: Callable[..., LocalJob]) -> None:
    """What the other run removes late must not be missing in a finished output."""
    store = open_store(make().config.output)
    assert _run(make())
    store.write("_plan/being-replaced", b"by another run")
    with pytest.raises(ConfigError, match=r"holds scores that another run began to replace\. .* pass --restart"):
        _run(make())
    assert _run(make(restart=True))
    assert "_plan/being-replaced" not in store.list()


def test_a_run_that_slept_before_it_began_to_replace_scores_leaves_them(
    make: Callable[..., LocalJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make(restart=True, version="2")
    assert _run(make())
    before, write_version, later = _contents(job.config.output), Store.write_version, ExitStack()

    def sleep_and_write(own: Store, name: str, *arguments: Any) -> Any:
        if name == "_plan/being-replaced" and isinstance(own, LockedStore):
            later.enter_context(advance_lock(own))
        return write_version(own, name, *arguments)

    monkeypatch.setattr(Store, "write_version", sleep_and_write)
    with later, pytest.raises(ConfigError, match="has been taken over by another run"):
        _run(job)
    assert _contents(job.config.output) == before


def test_a_file_of_an_earlier_try_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first try sets a row aside and dies before its receipt; the second one finds nothing wrong."""
    store, unit = open_store(str(tmp_path)), Unit("/in", "1", "a.parquet", (0,), (2,), 0)
    with hold_lock(store, "out") as lock:
        guarded = guard(store, "out", lock)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(unit_protocol, "write_receipt", _die)
            finish_unit(guarded, unit, PLAN, LocalWork(quarantines=True))
        assert (tmp_path / "_quarantine/a.parquet").exists()
        receipt = finish_unit(guarded, unit, PLAN, LocalWork())
    assert (receipt.rows, receipt.rows_quarantined, list(receipt.files)) == (2, 0, ["a.parquet"])
    assert not (tmp_path / "_quarantine/a.parquet").exists()


def test_a_worker_that_slept_until_others_had_finished_its_unit_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would set a row aside, and sleeps before it writes that. The other one finds nothing wrong."""
    store, unit = open_store(str(tmp_path)), Unit("/in", "1", "a.parquet", (0,), (2,), 0)
    write_version = Store.write_version
    with hold_lock(store, "out") as lock, ExitStack() as later:

        def sleep_and_write(own: Store, name: str, *arguments: Any) -> Any:
            if name.startswith("_quarantine/"):
                monkeypatch.setattr(Store, "write_version", write_version)
                receipts.append(finish_unit(guard(store, "out", lock), unit, PLAN, LocalWork()))
                later.enter_context(advance_lock(guard(store, "out", lock)))
            return write_version(own, name, *arguments)

        receipts: list[Receipt] = []
        monkeypatch.setattr(Store, "write_version", sleep_and_write)
        monkeypatch.setattr(locked_store, "LONG_CHANGE_S", -1.0)
        with pytest.raises(ConfigError, match="has been taken over"):
            finish_unit(guard(store, "out", lock), unit, PLAN, LocalWork(quarantines=True))
    assert [receipt.rows for receipt in receipts] == [2]
    names = ["_plan/lock-00002.json", "_receipts/a.parquet.json", "a.parquet"]
    assert [name for name in store.list() if not name.startswith("_plan/attempts")] == names


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_fault_that_lasts_ends_the_run_and_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentiment_ray.retrying.time.sleep", lambda _: None)
    store, unit = open_store(str(tmp_path)), Unit("/in", "1", "a.parquet", (0,), (2,), 0)
    work = LocalWork(fault=MemoryError())
    with hold_lock(store, "out") as lock:
        for _ in range(5):
            with pytest.raises(StorageError, match="/in: not enough memory .* No row was quarantined for this"):
                finish_unit(guard(store, "out", lock), unit, PLAN, work)
        assert read_crash_record(store, unit, lock.owner).crashes == 0
    assert work.tries == 5 * unit_protocol.SCORE_ATTEMPTS
    assert not (tmp_path / "_quarantine").exists()

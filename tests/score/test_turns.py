"""Two units share a worker; one that has seen a crash is worked on alone, so that no innocent row is blamed."""

import json
import math
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentiment_ray.score import workers
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.crash_search import (
    CrashRecord,
    Step,
    begin_step,
    is_suspect,
    read_crash_record,
    record_name,
    run_pending_steps,
)
from sentiment_ray.score.plan import Unit
from sentiment_ray.score.score import score_reviews
from sentiment_ray.score.turns import MIN_UNITS_PER_WORKER, CrashIsolation, EngineInTurns, count_units_at_once
from sentiment_ray.storage import Store, open_store
from tests.score.outputs import list_parts


class SlowEngine:
    """Counts the calls that run at the same time."""

    name = "onnxruntime"

    def __init__(self) -> None:
        self.running = self.most_running = 0
        self.callers: list[int] = []

    def logits(self, input_ids: Any, attention_mask: Any) -> Any:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.callers.append(threading.get_ident())
        time.sleep(0.005)
        self.running -= 1
        return input_ids


def test_an_engine_works_for_one_unit_until_its_turn_ends() -> None:
    slow = SlowEngine()
    engine = EngineInTurns(slow)

    def score_two_chunks(_: int) -> None:
        for _ in range(2):
            for _ in range(4):
                engine.logits(np.zeros(1), np.zeros(1))
            engine.end_turn()
            engine.end_turn()  # a second end is none of the other thread's turn

    with ThreadPoolExecutor(2) as executor:
        list(executor.map(score_two_chunks, range(2)))
    assert (engine.name, slow.most_running, len(slow.callers)) == ("onnxruntime", 1, 16)
    turns = [slow.callers[start : start + 4] for start in range(0, 16, 4)]
    assert all(len(set(turn)) == 1 for turn in turns)


def test_a_suspect_is_in_work_alone() -> None:
    isolation = CrashIsolation()
    events: list[str] = []
    ends = {name: threading.Event() for name in ("first", "second", "suspect", "third")}

    def work(name: str, alone: bool) -> None:
        with isolation.enter(alone=alone):
            events.append(f"{name} begins")
            ends[name].wait(10)
            events.append(f"{name} ends")

    def start(name: str, alone: bool = False) -> threading.Thread:
        thread = threading.Thread(target=work, args=(name, alone))
        thread.start()
        time.sleep(0.05)
        return thread

    threads = [start("first"), start("second"), start("suspect", alone=True), start("third")]
    assert events == ["first begins", "second begins"]
    for name in ("first", "second", "suspect", "third"):
        ends[name].set()
        time.sleep(0.05)
    for thread in threads:
        thread.join(10)
    assert events == [
        "first begins", "second begins", "first ends", "second ends", "suspect begins", "suspect ends", "third begins",
        "third ends",
    ]  # fmt: skip


@pytest.mark.parametrize("num_rows", [1, 2, 17, 300, 5000])
def test_a_poison_beside_another_unit_is_found_as_soon_as_alone(num_rows: int, tmp_path: Path) -> None:
    """One process works on two units until it dies; both records say so, and only the poison is quarantined."""
    store, poison = open_store(str(tmp_path)), num_rows // 2
    units = [Unit(f"{name}.parquet", "1", f"{name}.parquet", (0,), (num_rows,), 0) for name in ("bad", "good")]
    done: dict[str, CrashRecord] = {}
    deaths = Counter[str]()
    while len(done) < 2:
        records = {unit.part: read_crash_record(store, unit, "run") for unit in units if unit.part not in done}
        together = [unit for unit in units if unit.part in records and not is_suspect(records[unit.part])]
        alone = [unit for unit in units if unit.part in records and unit not in together]
        for group in [[unit] for unit in alone] + ([together] if together else []):
            if _dies_over(store, group, records, poison):
                deaths.update(unit.part for unit in group)
                break
            done |= {unit.part: records[unit.part] for unit in group}
    assert (done["bad.parquet"].bad_rows, done["good.parquet"].bad_rows) == ([poison], [])
    assert deaths["bad.parquet"] <= 3 + math.log2(num_rows)
    assert deaths["good.parquet"] <= 1
    assert json.loads(store.read(record_name(units[1])))["crashes"] <= 1


def _dies_over(store: Store, units: list[Unit], records: dict[str, CrashRecord], poison: int) -> bool:
    """Record what begins in all units of a process, and return whether a step touches the poison."""
    is_dead = False

    def run_step(step: Step) -> None:
        nonlocal is_dead
        is_dead = step.kind == "rows" and step.start <= poison < step.end and poison not in record.bad_rows
        if is_dead:
            raise RuntimeError

    for unit in units:
        record = records[unit.part]
        is_bad = unit.part == "bad.parquet"
        try:
            run_pending_steps(store, unit, record, run_step if is_bad else lambda step: None)
        except RuntimeError:
            return True
        begin_step(store, unit, record, Step("unit", 0, unit.num_rows))
        is_dead = is_dead or (is_bad and poison not in record.bad_rows)
    return is_dead


@pytest.mark.parametrize(
    ("engine", "num_units", "num_workers", "expected"),
    [
        ("openvino", 1000, 2, 1),
        ("cuda", 1000, 2, 2),
        ("cuda", 2 * MIN_UNITS_PER_WORKER - 1, 2, 1),
        ("cuda", 2 * MIN_UNITS_PER_WORKER, 2, 2),
    ],
)
def test_two_units_at_once_need_a_gpu_and_many_units(
    engine: str, num_units: int, num_workers: int, expected: int
) -> None:
    assert count_units_at_once(engine, num_units, num_workers) == expected


def test_two_units_at_once_give_the_same_bytes(
    ray_cluster: None, bundle: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = []
    for units_at_once in (1, 2):
        monkeypatch.setattr(workers, "count_units_at_once", lambda *_, count=units_at_once: count)
        output = tmp_path / f"scores-{units_at_once}"
        score_reviews(
            ScoreConfig(
                bundle=str(bundle), input=str(corpus), output=str(output), text_column=("body",), unit_rows=10,
                num_workers=1, engine="onnxruntime", variant="fp32",
            )
        )  # fmt: skip
        every = {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*.parquet")}
        parts.append({name: data for name, data in every.items() if not name.startswith(("_plan/", "_receipts/"))})
        assert len(list_parts(output)) > 4
    assert parts[0] == parts[1]

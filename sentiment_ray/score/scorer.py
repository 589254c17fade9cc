"""The actor that finishes units, each with a part and a receipt, whatever died before; knows nothing of other units."""

import json
import os
import socket
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from pyarrow import parquet

from sentiment_ray.errors import SentimentRayError
from sentiment_ray.inference.drift import add_profiles
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.manifest import sha256_of_file
from sentiment_ray.score.attempts import Attempts, Step, begin, read_attempts, survive, tokens_per_batch
from sentiment_ray.score.columns import quarantine_table
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.groups import add_groups
from sentiment_ray.score.lock import Lock, refuse_if_taken_over
from sentiment_ray.score.part import Outcome, Without, try_read, try_rows, write_part
from sentiment_ray.score.plan import Unit, unit_from
from sentiment_ray.score.receipts import read_receipt, write_receipt
from sentiment_ray.storage import open_store

READ_ATTEMPTS = 3
"""Times that a unit on an object store is read before what cannot be read counts as broken."""

Files = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Task:
    """What every scorer of a run is told."""

    config: ScoreConfig
    fingerprint: str
    """Fingerprint of the plan."""
    bundle: Any
    """Object reference of the PackedBundle."""
    lock: Lock
    progress: Any
    """Handle of the actor that counts rows."""
    memory: Any
    """Handle of the actor that remembers scores, or None."""


class Scorer:
    """A Predictor of one bundle, loaded once for an actor."""

    def __init__(self, task: Task) -> None:
        threads = max(1, round(task.config.cpus_per_worker))
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # the tokenizer's threads, which it counts at its first batch
        self._refusal: SentimentRayError | None = None
        try:
            self._predictor = Predictor(ray.get(task.bundle), threads=threads)
        except SentimentRayError as error:
            self._refusal = error  # told with the first unit: of an actor that fails to start only a traceback is left
            return
        self._memory = task.memory if self._predictor.is_batch_invariant() else None
        self._task = task
        self._config = task.config
        self._store = open_store(task.config.output)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Finish the units of a batch, given as JSON, and return their receipts as JSON.

        Ray Data hands an exception on as text alone, so one that a person can mend comes back as a receipt.
        """
        receipts = []
        for text in batch["unit"]:
            try:
                if self._refusal:
                    raise self._refusal
                receipts.append(self.finish_unit(unit_from(json.loads(text))))
            except SentimentRayError as error:
                receipts.append({"error": str(error), "kind": type(error).__name__})
        return {"receipt": np.array([json.dumps(receipt) for receipt in receipts], dtype=object)}

    def finish_unit(self, unit: Unit) -> dict[str, Any]:
        """Return a unit's receipt: the one that is there, or a new one after its files have been written.

        A unit whose process has died before is searched for the row that did it; see `attempts`.
        """
        found = read_receipt(self._store, unit, self._task.fingerprint)
        if found:
            return found
        started = time.time()
        attempts = read_attempts(self._store, unit, self._task.lock.owner)
        survive(self._store, unit, attempts, lambda step: self._try(unit, step, attempts))
        if attempts.given_up:
            outcome, files = Outcome(), Files()
            refuse_if_taken_over(self._store, self._config.output, self._task.lock)
            for name in (unit.part, f"_groups/parts/{unit.part}"):  # what a death before its receipt may have left
                self._store.remove(name)
            outcome.set_aside(unit, unit.first_row, unit.num_rows, "whatever scores these rows together dies")
        else:
            begin(self._store, unit, attempts, ("unit", 0, unit.num_rows))
            outcome, files = self._score(unit, attempts)
        if outcome.quarantined:
            files |= self._place_table(quarantine_table(outcome.quarantined), f"_quarantine/{unit.part}")
        receipt = self._receipt(unit, outcome) | {
            "files": files,
            "crashes": attempts.crashes,
            "worker": f"{socket.gethostname()}:{os.getpid()}",
            "started_at": started,
            "seconds": time.time() - started,
        }
        write_receipt(self._store, receipt)
        return receipt

    def _receipt(self, unit: Unit, outcome: Outcome) -> dict[str, Any]:
        reasons: Counter[str] = Counter()
        for row in outcome.quarantined:
            reasons[row["reason"].partition(" (")[0]] += row["rows"]
        quarantined = reasons.total()
        if outcome.num_scored + quarantined != unit.num_rows:
            raise AssertionError(f"{unit.part}: {unit.num_rows} rows in, {outcome.num_scored} + {quarantined} out")
        return {
            "fingerprint": self._task.fingerprint,
            "part": unit.part,
            "input": unit.path,
            "first_row": unit.first_row,
            "rows_in": unit.num_rows,
            "rows": outcome.num_scored,
            "rows_quarantined": quarantined,
            "reasons": dict(sorted(reasons.items())),
            "duplicates": outcome.num_duplicates,
            "profile": add_profiles(outcome.profiles),
        }

    def _try(self, unit: Unit, step: Step, attempts: Attempts) -> None:
        kind, start, end = step
        if kind == "read":
            try_read(unit, start)
        elif kind == "rows":
            try_rows(unit, self._config, self._predictor, start, end, _without(attempts))

    def _score(self, unit: Unit, attempts: Attempts) -> tuple[Outcome, Files]:
        """Write a unit's part and its sums by group; on an object store what cannot be read is read again first."""
        for attempt in range(1, READ_ATTEMPTS + 1):
            try:
                with self._store.temporary_file() as temporary:
                    outcome = write_part(
                        unit,
                        self._config,
                        self._predictor,
                        temporary,
                        without=_without(attempts),
                        tokens_per_batch=tokens_per_batch(attempts, self._config.tokens_per_batch),
                        certain="://" not in unit.path or attempt == READ_ATTEMPTS,
                        memory=self._memory,
                        report=lambda *rows: self._task.progress.report.remote(unit.part, *rows),
                    )
                    files = self._place(temporary, unit.part)
                    if outcome.groups:
                        files |= self._place_table(add_groups(outcome.groups), f"_groups/parts/{unit.part}")
                    return outcome, files
            except OSError:
                if attempt == READ_ATTEMPTS:
                    raise
                time.sleep(2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _place_table(self, table: pa.Table, name: str) -> Files:
        with self._store.temporary_file() as temporary:
            parquet.write_table(table, temporary, compression="zstd")
            return self._place(temporary, name)

    def _place(self, temporary: Path, name: str) -> Files:
        """Put a finished file where it belongs, unless this run has lost its output to another."""
        refuse_if_taken_over(self._store, self._config.output, self._task.lock)
        entry = {"bytes": temporary.stat().st_size, "sha256": sha256_of_file(temporary)}
        self._store.place(temporary, name)
        return {name: entry}


def _without(attempts: Attempts) -> Without:
    return Without(frozenset(attempts.bad_rows), frozenset(attempts.bad_row_groups))

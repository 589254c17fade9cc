"""The worker: scores units one by one and writes a part and a receipt for each, also after crashes."""

import logging
import os
import socket
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from pyarrow import parquet

from sentiment_ray.engine_specs import ENGINES
from sentiment_ray.errors import SentimentRayError
from sentiment_ray.inference.drift import add_profiles
from sentiment_ray.inference.hardware import list_gpus
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.manifest import format_json, hash_file
from sentiment_ray.output_lock import Lock, refuse_if_taken_over
from sentiment_ray.paths import find_disk_failure, is_url
from sentiment_ray.score.aggregation import merge_group_sums
from sentiment_ray.score.columns import make_quarantine_table
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.crash_search import (
    CrashRecord,
    Step,
    begin_step,
    read_crash_record,
    run_pending_steps,
    shrink_batches,
)
from sentiment_ray.score.distinct_texts import choose_cache
from sentiment_ray.score.part import CrashingInputs, UnitResult, try_row_group, try_rows, write_part
from sentiment_ray.score.plan import Unit
from sentiment_ray.score.receipts import Files, Receipt, read_receipt, write_receipt
from sentiment_ray.storage import open_store

logger = logging.getLogger(__name__)
READ_ATTEMPTS = 3
"""Times that a unit on an object store is read before a row group that cannot be read counts as broken."""
GROUP_PARTS = "_groups/parts"


@dataclass(frozen=True)
class RunContext:
    """What all workers of a run share."""

    config: ScoreConfig
    fingerprint: str
    """Fingerprint of the plan."""
    types: pa.Schema
    """The types of the output's columns that differ between the files."""
    units: Any
    """Object reference of the list of units to score; Ray Data hands out their indices."""
    bundle: Any
    """Object reference of the PackedBundle."""
    lock: Lock
    progress: Any
    """Handle of the actor that counts rows."""
    cache: Any
    """Handle of the actor with the scores of texts, or None."""


class Scorer:
    """A Predictor of one bundle, loaded once an actor."""

    def __init__(self, context: RunContext) -> None:
        threads = context.config.threads_per_worker
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # threads of the tokenizer, read at its first batch
        self._load_error: SentimentRayError | None = None
        try:
            self._predictor = Predictor(ray.get(context.bundle), threads=threads)
        except SentimentRayError as error:
            self._load_error = error  # raised with the first unit: an error here would reach the driver as a traceback
            return
        self._units: list[Unit] = ray.get(context.units)
        self._context = context
        self._config = context.config
        tokens_per_batch = context.config.token_budget
        self._cache = choose_cache(self._predictor, context.cache, tokens_per_batch=tokens_per_batch)
        self._store = open_store(context.config.output)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Finish the units of a batch, given by index, and return their receipts as JSON.

        Ray Data passes an exception on as text alone, so an error that a person can mend is returned like a receipt.
        """
        replies: list[dict[str, Any]] = []
        for index in batch["unit"]:
            try:
                if self._load_error:
                    raise self._load_error
                replies.append(asdict(self.finish_unit(self._units[int(index)])))
            except SentimentRayError as error:
                replies.append(_describe_error(error))
            except OSError as error:
                failure = find_disk_failure(error)
                if failure is None:
                    raise
                replies.append(_describe_error(failure))
        return {"receipt": np.array([format_json(reply) for reply in replies], dtype=object)}

    def finish_unit(self, unit: Unit) -> Receipt:
        """Return the receipt of a unit: the existing one, or a new one after its files have been written.

        If a worker has crashed over the unit before, the crashing row is searched first; see `crash_search`.
        """
        receipt = read_receipt(self._store, unit, self._context.fingerprint)
        if receipt:
            return receipt
        started_at = time.time()
        logger.info("unit started", extra={"unit": unit.part, "rows": unit.num_rows})
        record = read_crash_record(self._store, unit, self._context.lock.owner)
        run_pending_steps(self._store, unit, record, lambda step: self._try(unit, step, record))
        if record.given_up:
            result, files = self._give_up(unit), Files()
        else:
            begin_step(self._store, unit, record, Step("unit", 0, unit.num_rows))
            result, files = self._score(unit, record)
        if result.quarantined:
            files |= self._write_table(make_quarantine_table(result.quarantined), f"_quarantine/{unit.part}")
        receipt = self._make_receipt(unit, result, files, record.crashes, started_at)
        write_receipt(self._store, receipt)
        logger.info(
            "unit finished",
            extra={
                "unit": unit.part,
                "rows": receipt.rows,
                "rows_quarantined": receipt.rows_quarantined,
                "crashes": receipt.crashes,
                "seconds": round(time.time() - started_at, 3),
            },
        )
        return receipt

    def _try(self, unit: Unit, step: Step, record: CrashRecord) -> None:
        if step.kind == "read":
            try_row_group(unit, step.start)
        elif step.kind == "rows":
            try_rows(unit, self._config, self._predictor, step.start, step.end, _collect_crashing_inputs(record))

    def _give_up(self, unit: Unit) -> UnitResult:
        """Quarantine all rows of a unit, and remove what a worker may have written of it before it crashed."""
        refuse_if_taken_over(self._store, self._config.output, self._context.lock)
        for name in (unit.part, f"{GROUP_PARTS}/{unit.part}"):
            self._store.remove(name)
        result = UnitResult()
        result.quarantine(unit, unit.first_row, unit.num_rows, "scoring these rows together crashes the process")
        return result

    def _score(self, unit: Unit, record: CrashRecord) -> tuple[UnitResult, Files]:
        """Write the part of a unit and its sums by group; on an object store, read it again after a failure."""
        for attempt in range(1, READ_ATTEMPTS + 1):
            try:
                with self._store.temporary_file() as temporary:
                    result = write_part(
                        unit,
                        self._config,
                        self._predictor,
                        temporary,
                        types=self._context.types,
                        skip=_collect_crashing_inputs(record),
                        tokens_per_batch=shrink_batches(record, self._config.token_budget),
                        accept_unreadable=not is_url(unit.path) or attempt == READ_ATTEMPTS,
                        cache=self._cache,
                        report=lambda *rows: self._context.progress.report.remote(unit.part, *rows),
                    )
                    files = self._place(temporary, unit.part)
                    if result.group_sums:
                        files |= self._write_table(merge_group_sums(result.group_sums), f"{GROUP_PARTS}/{unit.part}")
                    return result, files
            except OSError:
                if attempt == READ_ATTEMPTS:
                    raise
                time.sleep(2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _make_receipt(self, unit: Unit, result: UnitResult, files: Files, crashes: int, started_at: float) -> Receipt:
        reasons: Counter[str] = Counter()
        for row in result.quarantined:
            reasons[row["reason"].partition(" (")[0]] += row["rows"]
        quarantined = reasons.total()
        if result.num_scored + quarantined != unit.num_rows:
            raise AssertionError(f"{unit.part}: {unit.num_rows} rows in, {result.num_scored} + {quarantined} out")
        return Receipt(
            fingerprint=self._context.fingerprint,
            part=unit.part,
            input=unit.path,
            first_row=unit.first_row,
            rows_in=unit.num_rows,
            rows=result.num_scored,
            rows_quarantined=quarantined,
            reasons=dict(sorted(reasons.items())),
            duplicates=result.num_duplicates,
            profile=add_profiles(result.profiles),
            files=files,
            crashes=crashes,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            started_at=started_at,
            seconds=time.time() - started_at,
            gpu=", ".join(list_gpus()) if ENGINES[self._predictor.engine].is_gpu else None,
        )

    def _write_table(self, table: pa.Table, name: str) -> Files:
        with self._store.temporary_file() as temporary:
            parquet.write_table(table, temporary, compression="zstd")
            return self._place(temporary, name)

    def _place(self, temporary: Path, name: str) -> Files:
        """Move a finished file to its name in the output, unless another run has taken over the output."""
        refuse_if_taken_over(self._store, self._config.output, self._context.lock)
        entry = {"bytes": temporary.stat().st_size, "sha256": hash_file(temporary)}
        self._store.move_in(temporary, name)
        return {name: entry}


def _describe_error(error: SentimentRayError) -> dict[str, Any]:
    return {"error": str(error), "kind": type(error).__name__}


def _collect_crashing_inputs(record: CrashRecord) -> CrashingInputs:
    return CrashingInputs(frozenset(record.bad_rows), frozenset(record.bad_row_groups))

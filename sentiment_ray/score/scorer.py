"""The worker: reads and scores units one by one; `unit_protocol` has the order in which their files are written."""

import logging
import os
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray

from sentiment_ray.engine_specs import ENGINES
from sentiment_ray.errors import ConfigError, SentimentRayError
from sentiment_ray.inference.hardware import list_gpus
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.locked_store import guard
from sentiment_ray.manifest import format_json
from sentiment_ray.output_lock import Lock
from sentiment_ray.paths import find_disk_failure
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.crash_search import CrashRecord, Step, shrink_batches
from sentiment_ray.score.distinct_texts import choose_cache
from sentiment_ray.score.part import CrashingInputs, try_row_group, try_rows, write_part
from sentiment_ray.score.pins import Pins, read_pins
from sentiment_ray.score.plan import Unit
from sentiment_ray.score.plan_file import UnitReader
from sentiment_ray.score.receipts import Receipt
from sentiment_ray.score.text_cache import SharedTextCache
from sentiment_ray.score.turns import CrashIsolation, EngineInTurns
from sentiment_ray.score.unit_protocol import finish_unit
from sentiment_ray.score.unit_result import UnitResult
from sentiment_ray.storage import open_store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunContext:
    """What all workers of a run share."""

    config: ScoreConfig
    plan: Any
    """Object reference of the Plan, without its files. Ray Data hands out numbers of units, which a worker looks up."""
    bundle: Any
    """Object reference of the PackedBundle."""
    lock: Lock
    progress: Any
    """Handle of the actor that counts rows."""
    cache: SharedTextCache | None
    """The scores of texts that all workers share."""


class Scorer:
    """A Predictor of one bundle, loaded once an actor."""

    def __init__(self, context: RunContext) -> None:
        threads = context.config.threads_per_worker
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # threads of the tokenizer, read at its first batch
        self._load_error: SentimentRayError | None = None
        try:
            plan, bundle = ray.get([context.plan, context.bundle])
            _refuse_other_pins(plan.pins, bundle.engine)
            self._predictor = Predictor(bundle, threads=threads)
        except SentimentRayError as error:
            self._load_error = error  # raised with the first unit: an error here would reach the driver as a traceback
            return
        self._context, self._plan = context, plan
        self._config = context.config
        tokens_per_batch = context.config.token_budget
        self._cache = choose_cache(self._predictor, context.cache, tokens_per_batch=tokens_per_batch)
        self._crash_isolation = CrashIsolation()
        self._turns = EngineInTurns(self._predictor.loaded_engine)
        self._predictor.loaded_engine = self._turns
        self._store = guard(open_store(context.config.output), context.config.output, context.lock)
        self._units = UnitReader(self._store, plan)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Finish the units of a batch, given by number, and return the numbers; with an error, stop and return it.

        Ray Data passes an exception on as text alone, so an error that a person can mend is returned as JSON. After a
        crash the whole batch is repeated, and the units that have a receipt are not scored again.
        """
        numbers, failure = [], ""
        for number in batch["unit"]:
            try:
                if self._load_error:
                    raise self._load_error
                self.finish_unit(self._units.read(int(number)))
            except SentimentRayError as error:
                failure = _describe_error(error)
            except Exception as error:
                disk_failure = find_disk_failure(error)
                if disk_failure is None:
                    raise
                failure = _describe_error(disk_failure)
            numbers.append(int(number))
            if failure:
                break
        errors = [""] * (len(numbers) - 1) + [failure]
        return {"unit": np.array(numbers, np.int64), "error": np.array(errors, dtype=object)}

    def finish_unit(self, unit: Unit) -> Receipt:
        """Return the receipt of a unit, as `unit_protocol.finish_unit`."""
        started = time.monotonic()
        logger.info("unit started", extra={"unit": unit.part, "rows": unit.num_rows})
        gpu = ", ".join(list_gpus()) if ENGINES[self._predictor.engine].is_gpu else None
        receipt = finish_unit(self._store, unit, self._plan, self, gpu=gpu)
        logger.info(
            "unit finished",
            extra={
                "unit": unit.part,
                "rows": receipt.rows,
                "rows_quarantined": receipt.rows_quarantined,
                "crashes": receipt.crashes,
                "seconds": round(time.monotonic() - started, 3),
            },
        )
        return receipt

    def enter(self, *, alone: bool) -> AbstractContextManager[None]:
        """Work on a unit until the block ends, beside another one or alone; see `turns`."""
        return self._crash_isolation.enter(alone=alone)

    def run_step(self, unit: Unit, step: Step, record: CrashRecord) -> None:
        """Read a row group, or score some rows, and keep nothing; this may end the process."""
        try:
            if step.kind == "read":
                try_row_group(unit, step.start)
            elif step.kind == "rows":
                try_rows(unit, self._config, self._predictor, step.start, step.end, _collect_crashing_inputs(record))
        finally:
            self._turns.end_turn()

    def score(self, unit: Unit, record: CrashRecord, target: Path) -> UnitResult:
        """Write the part of a unit into a local file."""

        def end_chunk(num_scored: int, num_quarantined: int) -> None:
            self._turns.end_turn()
            self._context.progress.report.remote(unit.part, num_scored, num_quarantined)

        try:
            return write_part(
                unit,
                self._config,
                self._predictor,
                target,
                types=self._plan.types,
                skip=_collect_crashing_inputs(record),
                tokens_per_batch=shrink_batches(record, self._config.token_budget),
                fingerprint=self._plan.fingerprint,
                cache=self._cache,
                end_chunk=end_chunk,
            )
        finally:
            self._turns.end_turn()


def _refuse_other_pins(planned: Pins | None, engine: str) -> None:
    """Raise ConfigError when this machine would write other bytes than those that the plan pins."""
    difference = planned.describe_difference(read_pins(engine)) if planned else None
    if difference:
        raise ConfigError(
            f"{difference}, and the scores of one run must not be mixed. Run on nodes of one kind with the same "
            "versions, or pass --restart to begin again."
        )


def _describe_error(error: SentimentRayError) -> str:
    return format_json({"error": str(error), "kind": type(error).__name__})


def _collect_crashing_inputs(record: CrashRecord) -> CrashingInputs:
    return CrashingInputs(frozenset(record.bad_rows), frozenset(record.bad_row_groups))

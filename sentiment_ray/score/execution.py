"""Scores the units of a plan on Ray that are not finished, and merges their receipts; commits nothing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from sentiment_ray.errors import SentimentRayError
from sentiment_ray.inference.predictor import PackedBundle
from sentiment_ray.locked_store import LockedStore, guard
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.finished_units import FinishedUnits
from sentiment_ray.score.plan import Plan, PlanShard, count_unit_rows
from sentiment_ray.score.plan_file import read_units
from sentiment_ray.score.progress import show_progress
from sentiment_ray.score.receipt_shards import merge_receipts
from sentiment_ray.score.scorer import RunContext
from sentiment_ray.score.text_cache import share_text_cache
from sentiment_ray.score.workers import choose_num_workers, score_units
from sentiment_ray.storage import open_store

MAX_MERGES = 4
"""Merges of receipts that run at a time, beside the workers."""


def score_missing_units(
    store: LockedStore, config: ScoreConfig, bundle: PackedBundle, plan: Plan, finished: FinishedUnits
) -> None:
    """Score the units that are not finished with a pool of workers, and show the progress.

    Of each unit the driver keeps whether it is finished, and nothing else. The receipts of a shard of the plan are
    merged by a task when its last unit is finished; those of the last shards are left to the commit.
    """
    is_finished = finished.is_finished.copy()
    num_left = [int((~is_finished[shard.first_unit : shard.numbers.stop]).sum()) for shard in plan.shards]
    num_workers = choose_num_workers(config, bundle.engine)
    with (
        show_progress(config.progress, plan.num_unit_rows, finished.rows, finished.rows_quarantined) as progress,
        share_text_cache(config.max_cached_texts, max(num_workers, config.max_workers or 0)) as cache,
        _merge_beside(store, config, plan) as merge,
    ):
        shared = ray.put(plan.without_files()), ray.put(bundle)
        context = RunContext(config, *shared, store.lock, progress, cache)
        units = order_missing_units(store, plan, is_finished)
        for unit in score_units(context, units, num_workers, engine=bundle.engine):
            if is_finished[unit]:
                continue
            is_finished[unit] = True
            shard = plan.find_shard(unit)
            num_left[shard.index] -= 1
            if not num_left[shard.index] and any(num_left):
                merge(shard)


def order_missing_units(store: LockedStore, plan: Plan, is_finished: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the numbers of the units to score, int64 `(units,)`: shard by shard, the largest of a shard first."""

    def order(shard: PlanShard) -> NDArray[np.int64]:
        missing = np.flatnonzero(~is_finished[shard.first_unit : shard.numbers.stop])
        if not len(missing):
            return missing
        num_rows = count_unit_rows(read_units(store, shard))[missing]
        return missing[np.argsort(-num_rows, kind="stable")] + shard.first_unit

    return np.concatenate(store.map(order, plan.shards))


def merge_on_cluster(
    store: LockedStore, config: ScoreConfig, plan: Plan, shards: Sequence[PlanShard], single: set[str]
) -> None:
    """Merge the receipts of shards: one in this process, several in tasks."""
    if len(shards) == 1:
        merge_receipts(store, plan, shards[0], single)
        return
    with _merge_beside(store, config, plan) as merge:
        for shard in shards:
            merge(shard)


@contextmanager
def _merge_beside(store: LockedStore, config: ScoreConfig, plan: Plan) -> Iterator[Any]:
    """Yield a function that begins to merge the receipts of a shard in a task; at the end, wait for all of them."""
    task = ray.remote(num_cpus=0)(_merge_in_task)
    shared, running = ray.put(plan.without_files()), list[Any]()

    def wait(num_left: int) -> None:
        while len(running) > num_left:
            (ready,), rest = ray.wait(running)
            running[:] = rest
            _get(ready)

    def merge(shard: PlanShard) -> None:
        wait(MAX_MERGES - 1)
        running.append(task.remote(config.output, store.lock, shared, shard))

    yield merge
    wait(0)


def _get(reply: Any) -> None:
    try:
        ray.get(reply)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, SentimentRayError) else error) from None


def _merge_in_task(output: str, lock: Any, plan: Plan, shard: PlanShard) -> None:
    merge_receipts(guard(open_store(output), output, lock), plan, shard)

"""Trains once with some keys of a search, in a process that Ray Tune starts; a trial keeps no checkpoint."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from sentiment_ray.errors import SentimentRayError
from sentiment_ray.train.batch_size import choose_batch_size
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.prepared import PreparedReviews
from sentiment_ray.train.schedule import NO_SCORE, compute_class_weights, compute_score
from sentiment_ray.train.task import Task
from sentiment_ray.train.tune_config import apply_keys

NEVER_S = 1e9
"""Interval of the checkpoints within an epoch."""
DONE, WHOLE = "percent_done", 100
"""Name and last value of the share of its own epochs that a trial reports."""


@dataclass(frozen=True)
class TrialPlan:
    """What the trials of a search have in common."""

    base: TrainConfig
    prepared: PreparedReviews
    revisions: Mapping[str, str | None]
    """The commit of each model that is tried."""
    use_gpu: bool


def configure_trial(plan: TrialPlan, keys: Mapping[str, Any]) -> TrainConfig:
    """Return the configuration of a trial.

    One process takes the steps that the workers of the training will take together: a step has the batches of all of
    them.
    """
    mean_tokens = plan.prepared.estimate_mean_tokens()
    config = apply_keys(plan.base, keys)
    config = choose_batch_size(config, num_rows=plan.prepared.num_rows["train"], mean_tokens=mean_tokens)
    changes = {
        "accumulation_steps": config.accumulation_steps * config.max_workers,
        "checkpoint_every_s": NEVER_S,
        "revision": plan.revisions.get(config.model),
    }
    return config.model_copy(update=changes)


def run_trial(keys: dict[str, Any], plan: TrialPlan) -> None:
    """Train once and report after each epoch. An error that would come again is reported, not raised."""
    try:
        _train(plan, keys)
    except SentimentRayError as error:
        tune.report({"score": NO_SCORE, DONE: WHOLE, "error": str(error)})


def _train(plan: TrialPlan, keys: Mapping[str, Any]) -> None:
    from sentiment_ray.train.checkpoint import Progress
    from sentiment_ray.train.device import choose_device
    from sentiment_ray.train.loop import fine_tune
    from sentiment_ray.train.rows import make_chunk_reader
    from sentiment_ray.train.setup import Worker
    from sentiment_ray.train.shards import plan_parts, split_source
    from sentiment_ray.train.threads import use_threads

    config, prepared = configure_trial(plan, keys), plan.prepared
    use_threads(max(1, math.ceil(tune.get_context().get_trial_resources().head_cpus)))

    parts = {
        split: plan_parts([split_source(prepared.directory, split)], seed=config.seed)
        for split in ("train", "validation")
    }

    def report(_checkpoint: Path | None, _name: str, progress: Progress, _score: float | None) -> None:
        # The best epoch counts, because a training keeps the checkpoint of its best epoch.
        best = max(compute_score(metrics, config.best_by) for metrics in progress.history)
        share = {DONE: WHOLE * progress.epoch / config.epochs}
        tune.report({"score": best, "history": progress.history} | share)

    worker = Worker(
        rank=0,
        world_size=1,
        device=choose_device(use_gpu=plan.use_gpu),
        read_chunks=make_chunk_reader(parts, prepared.labels, seed=config.seed),
        wrap=lambda model: model,
        report=report,
        show=lambda epochs_done, loss: None,
        keeps_checkpoints=False,
    )
    class_weights = compute_class_weights(config, prepared.labels, prepared.rows_by_label["train"])
    task = Task(prepared.labels, class_weights, prepared.num_rows["train"], prepared.cleaning_steps)
    fine_tune(config, task, worker, None)

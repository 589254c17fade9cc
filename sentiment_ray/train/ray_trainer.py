"""Runs Ray's trainer from the newest checkpoint to the last epoch; knows nothing of tensors."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
from ray.train.torch import TorchTrainer

from sentiment_ray.errors import SentimentRayError
from sentiment_ray.paths import find_disk_failure
from sentiment_ray.train.checkpoint import ATTEMPTS, Checkpoint, find_newest_checkpoint
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.preflight import missing_room, worker_resources
from sentiment_ray.train.progress import read_input_error, show_progress
from sentiment_ray.train.schedule import should_stop
from sentiment_ray.train.shards import ExactShards, Part, build_datasets
from sentiment_ray.train.task import Task, WorkerPlan
from sentiment_ray.train.trackers import open_trackers


def train_until_finished(
    config: TrainConfig,
    directory: Path,
    task: Task,
    parts: dict[str, list[Part]],
    cpus: float,
    num_threads: int | None,
) -> None:
    """Train from the newest checkpoint in `directory`, if there is one, to the last epoch."""
    checkpoint = find_newest_checkpoint(directory)
    if checkpoint and _is_last(checkpoint, config):
        return
    describe_wait = partial(missing_room, config, cpus)
    with (
        open_trackers(config, directory) as track,
        show_progress(config.epochs, track, describe_wait) as board,
    ):
        worker_plan = WorkerPlan(
            config=config.model_copy(update={"output": str(directory)}),
            task=task,
            num_threads=num_threads,
            board=board,
            checkpoint=checkpoint.path if checkpoint else None,
        )
        trainer = _build_trainer(worker_plan, parts, cpus)
        try:
            with _interruptible():
                trainer.fit()
        except WorkerGroupError as error:
            raise _find_input_error(error) or error from None
        input_error = read_input_error(board)
        if input_error:
            raise input_error


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C in the block raise KeyboardInterrupt, and restore the signal handler after it.

    Ray 2.60 installs a handler that ends the process with exit code 0, and leaves it installed.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)


def _find_input_error(error: WorkerGroupError) -> SentimentRayError | None:
    """Return the error about wrong input, or about a disk, that ended a worker; else None."""
    failures = error.worker_failures.values()
    wrong_input = next((each for each in failures if isinstance(each, SentimentRayError)), None)
    return wrong_input or next(filter(None, map(find_disk_failure, failures)), None)


def _is_last(checkpoint: Checkpoint, config: TrainConfig) -> bool:
    """Return whether no epoch comes after a checkpoint."""
    return checkpoint.progress.epoch >= config.epochs or should_stop(checkpoint.progress.history, config)


def _build_trainer(plan: WorkerPlan, parts: dict[str, list[Part]], cpus: float) -> TorchTrainer:
    """Return Ray's trainer for one start of the driver."""
    config = plan.config
    attempts = Path(config.output) / ATTEMPTS
    number = 1 + max((int(path.name) for path in attempts.glob("*") if path.name.isdecimal()), default=0)
    # At this interval Ray takes over a checkpoint and notices the end, and a report waits for the one before it. Ray's
    # default is 2 s.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    return TorchTrainer(
        _run_worker,
        train_loop_config={"plan": plan},
        scaling_config=ScalingConfig(
            num_workers=config.num_workers, use_gpu=config.use_gpu, resources_per_worker=worker_resources(config, cpus)
        ),
        run_config=RunConfig(
            # A new name for each start, because Ray would resume from its own list of checkpoints, which a crash can
            # leave half written.
            name=str(number),
            storage_path=str(attempts),
            failure_config=FailureConfig(max_failures=config.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=config.keep_checkpoints, checkpoint_score_attribute="score"),
        ),
        datasets=build_datasets(parts, num_orders=config.epochs),
        dataset_config=ExactShards(parts, seed=config.seed),
    )


def _run_worker(train_loop_config: dict[str, Any]) -> None:
    """Import the loop on the worker, so that the driver needs no torch.

    Ray Train starts all workers again after any error. An error about the input would come again, so the next workers
    end at once when they find it on the board, and the driver raises it.
    """
    plan: WorkerPlan = train_loop_config["plan"]
    if read_input_error(plan.board):
        return
    from sentiment_ray.train.worker import train_loop_per_worker

    try:
        train_loop_per_worker(plan)
    except SentimentRayError as error:
        with suppress(ray.exceptions.RayError):  # the board is lost with its node
            ray.get(plan.board.set_error.remote(error))
        raise

"""A Ray Train worker: joins the training loop with Ray's datasets, devices, reports and checkpoints."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.train
import torch
from ray.train.torch import get_device, prepare_model

from sentiment_ray.train.batches import Window
from sentiment_ray.train.checkpoint import Checkpoint, Progress, read_checkpoint
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.loop import Task, Worker, fine_tune
from sentiment_ray.train.memory import keep_freed_memory
from sentiment_ray.train.rows import window_of
from sentiment_ray.train.schedule import NO_SCORE


def train_loop_per_worker(settings: dict[str, Any]) -> None:
    """Train as one of the workers; `settings` holds config, task, threads, the board and where to start."""
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
        keep_freed_memory()
    task, context = Task(**settings["task"]), ray.train.get_context()
    worker = Worker(
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        device=get_device(),
        windows=lambda split, num_rows: _begun(_windows(split, num_rows, task.labels)),
        wrap=prepare_model,
        report=lambda *told: _report(*told, board=settings["board"]),
        show=lambda epochs_done, loss: settings["board"].advance.remote(epochs_done, loss),
    )
    with tempfile.TemporaryDirectory() as directory:
        start = _start(settings["start"], Path(directory))
        fine_tune(TrainConfig(**settings["config"]), task, worker, start)


def _windows(split: str, num_rows: int, labels: tuple[str, ...]) -> Iterator[Window]:
    """Yield this worker's rows of a split, so many at once."""
    shard = ray.train.get_dataset_shard(split)
    for table in shard.iter_batches(batch_size=num_rows, batch_format="pyarrow", prefetch_batches=1):
        assert isinstance(table, pa.Table)
        yield window_of(table, labels)


def _begun(windows: Iterator[Window]) -> Iterator[Window]:
    """Return windows of which the first is fetched at once, beside what the worker does until it asks for it.

    A dataset takes one to two seconds to start, in every epoch.
    """
    pool = ThreadPoolExecutor(max_workers=1)
    first = pool.submit(lambda: list(islice(windows, 1)))
    pool.shutdown(wait=False)

    def all_of_them() -> Iterator[Window]:
        yield from first.result()
        yield from windows

    return all_of_them()


def _report(checkpoint: Path | None, name: str, progress: Progress, score: float | None, *, board: Any) -> None:
    """Report to Ray Train, which copies the checkpoint into the run's storage; a barrier for all workers."""
    # Ray keeps the checkpoint of the highest score beside the newest; one within an epoch is never the best.
    metrics = {"score": NO_SCORE if score is None else score}
    if checkpoint is None:
        ray.train.report(metrics, checkpoint_dir_name=name)
        return
    ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(str(checkpoint)), checkpoint_dir_name=name)
    if score is not None:
        board.finish_epoch.remote(progress.history)


def _start(found: str | None, directory: Path) -> Checkpoint | None:
    """Return the checkpoint to go on from: Ray's newest when it has started workers again, else the driver's."""
    newest = ray.train.get_checkpoint()
    path = Path(newest.to_directory(str(directory / "start"))) if newest else Path(found) if found else None
    checkpoint = read_checkpoint(path) if path else None
    if path and not checkpoint:
        raise RuntimeError(f"The checkpoint {path} is not what was written. Start the training again to pass it over.")
    return checkpoint

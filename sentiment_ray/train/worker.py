"""A Ray Train worker: connects the training loop to Ray's datasets, devices, reports and checkpoints."""

import logging
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.train
from ray.train.torch import get_device, prepare_model

from sentiment_ray.errors import DataError
from sentiment_ray.train.batches import Chunk
from sentiment_ray.train.checkpoint import Checkpoint, Progress, count_steps, read_checkpoint
from sentiment_ray.train.loop import fine_tune
from sentiment_ray.train.memory import keep_freed_memory
from sentiment_ray.train.rows import build_chunk
from sentiment_ray.train.schedule import NO_SCORE
from sentiment_ray.train.setup import Worker
from sentiment_ray.train.shards import name_dataset
from sentiment_ray.train.step_log import STEPS_NAME, append_steps, remove_steps_after
from sentiment_ray.train.task import WorkerPlan
from sentiment_ray.train.threads import use_threads

logger = logging.getLogger(__name__)


def train_loop_per_worker(plan: WorkerPlan) -> None:
    """Train as one of the workers of a Ray Train run."""
    if plan.num_threads:
        use_threads(plan.num_threads)
        keep_freed_memory()
    context = ray.train.get_context()
    ranks = {"rank": context.get_world_rank(), "num_workers": context.get_world_size()}
    logger.info("worker started", extra=ranks)
    steps_path = Path(plan.config.output) / STEPS_NAME
    worker = Worker(
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        device=get_device(),
        read_chunks=lambda *rows: _prefetch_first(_read_chunks(*rows, labels=plan.task.labels)),
        wrap=prepare_model,
        report=lambda *arguments: _report(*arguments, board=plan.board),
        show=lambda epochs_done, loss: plan.board.advance.remote(epochs_done, loss),
        record=partial(append_steps, steps_path) if context.get_world_rank() == 0 else lambda results: None,
    )
    with tempfile.TemporaryDirectory() as directory:
        checkpoint = _load_checkpoint(plan.checkpoint, Path(directory))
        if worker.rank == 0:
            remove_steps_after(steps_path, count_steps(checkpoint.progress) if checkpoint else 0)
        fine_tune(plan.config, plan.task, worker, checkpoint)
    logger.info("worker finished", extra=ranks)


def _read_chunks(split: str, num_rows: int, order: int, *, labels: tuple[str, ...]) -> Iterator[Chunk]:
    """Yield this worker's rows of a split in one of their orders, `num_rows` at a time."""
    shard = ray.train.get_dataset_shard(name_dataset(split, order))
    for table in shard.iter_batches(batch_size=num_rows, batch_format="pyarrow", prefetch_batches=1):
        assert isinstance(table, pa.Table)
        yield build_chunk(table, labels)


def _prefetch_first(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """Return the same chunks, and begin to read the first one at once in a thread.

    A dataset takes one to two seconds to start in every epoch. The worker does other work meanwhile.
    """
    pool = ThreadPoolExecutor(max_workers=1)
    first = pool.submit(lambda: list(islice(chunks, 1)))
    pool.shutdown(wait=False)

    def all_chunks() -> Iterator[Chunk]:
        yield from first.result()
        yield from chunks

    return all_chunks()


def _report(checkpoint: Path | None, name: str, progress: Progress, score: float | None, *, board: Any) -> None:
    """Report to Ray Train, which copies the checkpoint to the run's storage; a barrier for all workers."""
    # Ray keeps the checkpoint with the highest score and the newest one; one within an epoch is never the best.
    metrics = {"score": NO_SCORE if score is None else score}
    if checkpoint is None:
        ray.train.report(metrics, checkpoint_dir_name=name)
        return
    ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(str(checkpoint)), checkpoint_dir_name=name)
    if score is not None:
        board.finish_epoch.remote(progress.history)


def _load_checkpoint(from_driver: Path | None, directory: Path) -> Checkpoint | None:
    """Return the checkpoint to resume from, or None.

    It is Ray's newest one when Ray has restarted the workers, else the one that the driver chose.
    """
    newest = ray.train.get_checkpoint()
    path = Path(newest.to_directory(str(directory / "start"))) if newest else from_driver
    checkpoint = read_checkpoint(path) if path else None
    if path and not checkpoint:
        raise DataError(
            f"The checkpoint {path} differs from its hashes. Run the same command again; it skips this checkpoint."
        )
    return checkpoint

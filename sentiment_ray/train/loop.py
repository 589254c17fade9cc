"""The training loop in plain PyTorch: epochs, optimizer steps, checkpoints. It knows no Ray and runs without it.

Read it from `fine_tune` down. The loss is in loss.py, the batch budget in batches.py, the learning rate in schedule.py.
Every random number of a step is drawn from a seed and the step's position in the training. So a training that resumes
from a checkpoint takes exactly the steps that were still to come.
"""

import math
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from sentiment_ray.train.batches import Batch, Chunk, training_batches
from sentiment_ray.train.checkpoint import STATE_NAME, Checkpoint, Progress, count_steps, seal_checkpoint
from sentiment_ray.train.collectives import MAX, SUM, all_reduce, any_worker
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.divergence import SkippedSteps, describe_divergence, find_non_finite_weight
from sentiment_ray.train.gradients import add_gradients
from sentiment_ray.train.model import merge_additions
from sentiment_ray.train.optimizer import clip_gradients, update_weights
from sentiment_ray.train.schedule import compute_learning_rate, compute_score, should_stop
from sentiment_ray.train.setup import Training, Worker, set_up_training
from sentiment_ray.train.step_log import StepLog
from sentiment_ray.train.task import CHUNK_ROWS, Task
from sentiment_ray.train.validation import measure_validation_split

CHECK_CLOCK_EVERY_BATCHES = 16
"""Batches between two checks whether a checkpoint is due; each check costs an all-reduce."""
SHOW_EVERY_S = 1.0


def fine_tune(config: TrainConfig, task: Task, worker: Worker, checkpoint: Checkpoint | None) -> list[dict[str, Any]]:
    """Train from the beginning or from a checkpoint, and return the metrics of each epoch.

    All workers call it together.
    """
    with tempfile.TemporaryDirectory() as directory:
        progress = checkpoint.progress if checkpoint else Progress()
        chunks = _read_epoch(config, task, worker, progress.order)  # reads while the model is loaded
        training = set_up_training(config, task, worker, checkpoint, Path(directory))
        batches = _build_batches(training, progress, chunks)
        try:
            while progress.epoch < config.epochs and not should_stop(progress.history, config):
                progress = _train_epoch(training, progress, batches)
                if progress.epoch + 1 < config.epochs:  # its first chunk is encoded while the model is measured
                    following = Progress(epoch=progress.epoch + 1, order=progress.epoch + 1)
                    chunks = _read_epoch(config, task, worker, following.order)
                    batches = _build_batches(training, following, chunks)
                progress = _finish_epoch(training, progress)
                _save_checkpoint(training, progress, compute_score(progress.history[-1], config.best_by))
        finally:
            batches.close()
        return progress.history


def _count_chunks(task: Task, worker: Worker) -> int:
    """Return the number of chunks that each worker's training rows are divided into; the same on all workers."""
    return -(-task.train_rows // (worker.world_size * CHUNK_ROWS))


def _read_epoch(config: TrainConfig, task: Task, worker: Worker, order: int) -> Iterator[Chunk]:
    """Begin to read a worker's training rows in one of their orders, in chunks of about equal size."""
    num_chunks = _count_chunks(task, worker)
    chunks = worker.read_chunks("train", -(-task.train_rows // (worker.world_size * num_chunks)), order)
    return _repeat(islice(chunks, num_chunks), config.passes_per_epoch) if config.passes_per_epoch else chunks


def _repeat(chunks: Iterator[Chunk], times: int) -> Iterator[Chunk]:
    """Yield all chunks several times. They are kept, because to read them again takes seconds."""
    kept = list(chunks)
    for _ in range(times):
        yield from kept


def _train_epoch(training: Training, progress: Progress, batches: Iterator[Batch]) -> Progress:
    """Take the remaining steps of an epoch and return the progress at its end, before the model is measured."""
    config, worker = training.config, training.worker
    training.parallel.train()
    started = shown = saved = time.monotonic()
    check_clock_every = max(1, CHECK_CLOCK_EVERY_BATCHES // config.accumulation_steps)
    loss_sum = torch.zeros((), dtype=torch.float64, device=worker.device)
    reached, skipped, num_parts = progress, SkippedSteps(progress.skipped_steps, progress.skipped_rows), 1
    step_log = StepLog(worker.record, first=1 + count_steps(progress))
    for step, group in enumerate(_group_batches(batches, config.accumulation_steps), start=1):
        middle = (reached.done + group[-1].done) / 2
        rate = compute_learning_rate((progress.epoch + middle) / config.epochs, config)
        sums, num_parts = add_gradients(training, group, progress.epoch, num_parts=num_parts)
        is_finite = clip_gradients(training.parallel.parameters(), config.max_grad_norm).isfinite()
        update_weights(training.optimizers, is_finite, learning_rate=rate)
        loss_sum += torch.where(is_finite, sums[0], torch.zeros_like(loss_sum))
        step_log.note(sums, total_steps=_estimate_steps(config, group))
        reached = _pass_over(reached, group)
        skipped.note(is_finite, sum(batch.num_texts for batch in group))
        now = time.monotonic()
        if now - shown > SHOW_EVERY_S or worker.device.type == "cpu":
            _refuse_divergence(training, reached, skipped)
        if now - shown > SHOW_EVERY_S:
            shown = now
            num_rows = max(reached.rows - progress.rows, 1)
            worker.show(progress.epoch + reached.done, float(loss_sum) / num_rows * worker.world_size)
            step_log.write()
        is_clock_due = step % check_clock_every == 0 and reached.done < 1
        if is_clock_due and any_worker(now - saved > config.checkpoint_every_s):
            step_log.write()
            _save_checkpoint(training, _add_up(training, reached, loss_sum, skipped, now - started), score=None)
            saved = time.monotonic()
    step_log.write()
    return _add_up(training, reached, loss_sum, skipped, time.monotonic() - started)


def _estimate_steps(config: TrainConfig, group: list[Batch]) -> int:
    """Return the number of steps of the whole training, if all its chunks have as many batches as this one."""
    return config.epochs * -(-group[-1].per_epoch // config.accumulation_steps)


def _pass_over(progress: Progress, group: list[Batch]) -> Progress:
    """Return the progress after the step of a group of batches; its loss and time are not yet added."""
    return replace(
        progress,
        done=group[-1].done,
        steps=progress.steps + 1,
        rows=progress.rows + sum(batch.num_texts for batch in group),
        tokens=progress.tokens + sum(batch.num_tokens for batch in group),
    )


def _add_up(
    training: Training, reached: Progress, loss_sum: torch.Tensor, skipped: SkippedSteps, seconds: float
) -> Progress:
    """Return the progress with the loss, summed over all workers, the time, and the skipped steps."""
    _refuse_divergence(training, reached, skipped)
    return replace(
        reached,
        loss_sum=reached.loss_sum + float(all_reduce(loss_sum.cpu().numpy(), SUM)),
        seconds=reached.seconds + seconds,
        skipped_steps=skipped.steps,
        skipped_rows=skipped.rows,
    )


def _refuse_divergence(training: Training, reached: Progress, skipped: SkippedSteps) -> None:
    """Raise ConfigError when steps were skipped and the next ones could do no better."""
    num_before = skipped.steps
    is_over = skipped.count() or (reached.done >= 1 and skipped.rows == reached.rows)
    # A skipped step changes no weight, so they are looked at after the first one, and when the training is to end.
    if is_over or (num_before == 0 < skipped.steps and find_non_finite_weight(training.model)):
        where = f"epoch {reached.epoch + 1}, step {reached.steps}"
        what = f"the loss or its gradient is not finite, and {skipped.steps} steps of the epoch were skipped"
        raise describe_divergence(training.config, training.model, where, what)


def _build_batches(training: Training, progress: Progress, chunks: Iterator[Chunk]) -> Generator[Batch]:
    """Begin to build the batches of an epoch that come after `progress`."""
    config, worker = training.config, training.worker
    return training_batches(
        chunks,
        training.encoder,
        num_chunks=_count_chunks(training.task, worker) * (config.passes_per_epoch or 1),
        tokens_per_batch=config.token_budget,
        rows_per_batch=config.rows_per_batch,
        seed=(config.seed, progress.epoch, worker.rank),
        after=progress.done,
        max_over_workers=lambda counts: all_reduce(counts, MAX),
        sum_over_workers=lambda counts: all_reduce(counts, SUM),
    )


def _group_batches(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    """Yield the batches of one optimizer step at a time: `size` of them, fewer at the end of an epoch."""
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size or batch.done >= 1:
            yield group
            group = []


def _finish_epoch(training: Training, progress: Progress) -> Progress:
    """Measure the model on the validation split and return the progress with the epoch's metrics in the history."""
    started = time.monotonic()
    measured = measure_validation_split(training)
    if not math.isfinite(measured["validation_loss"]):
        what = f"the validation loss is {measured['validation_loss']}"
        raise describe_divergence(training.config, training.model, f"epoch {progress.epoch + 1}", what)
    metrics = {
        "epoch": progress.epoch + 1,
        "split": training.task.checkpoint_split,
        **measured,
        "loss": progress.loss_sum / (progress.rows - progress.skipped_rows),
        "precision": "bf16" if training.bf16 else "fp32",
        "train_rows": progress.rows,
        "steps": progress.steps,
        "skipped_steps": progress.skipped_steps,
        "tokens": progress.tokens,
        "tokens_per_s": round(progress.tokens / progress.seconds, 1),
        "seconds": round(progress.seconds + time.monotonic() - started, 2),
    }
    epoch = progress.epoch + 1
    return Progress(epoch=epoch, order=epoch, history=[*progress.history, metrics])


def _save_checkpoint(training: Training, progress: Progress, score: float | None) -> None:
    """Report a checkpoint that a training can resume from; rank 0 writes it, and all workers call this together.

    ConfigError, and no checkpoint, when a weight is not finite.
    """
    name = f"epoch-{progress.epoch}" + (f"-and-{progress.done:.6f}" if progress.done else "")
    if find_non_finite_weight(training.model):
        where = f"epoch {progress.epoch + 1}, step {progress.steps}" if progress.done else f"epoch {progress.epoch}"
        raise describe_divergence(training.config, training.model, where, "a step made weights that are not finite")
    if training.worker.rank != 0 or not training.worker.keeps_checkpoints:
        training.worker.report(None, name, progress, score)
        return
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        merge_additions(training.model).save_pretrained(directory, safe_serialization=True)
        for file in training.tokenizer_files.iterdir():
            (directory / file.name).write_bytes(file.read_bytes())
        additions = {name: value.detach() for name, value in training.model.named_parameters() if value.requires_grad}
        state = {
            "optimizers": [optimizer.state_dict() for optimizer in training.optimizers],
            "additions": additions if training.config.lora_rank else {},
            "bf16": training.bf16,
        }
        torch.save(state, directory / STATE_NAME)
        seal_checkpoint(directory, progress, score)
        training.worker.report(directory, name, progress, score)

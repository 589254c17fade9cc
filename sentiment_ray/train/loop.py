"""The training loop in plain PyTorch: epochs, optimizer steps, checkpoints. It knows no Ray and runs without it.

Read it from `fine_tune` down. The loss is in loss.py, the batch budget in batches.py, the learning rate in schedule.py.
Every random number of a step is drawn from a seed and the step's position in the training. So a training that resumes
from a checkpoint takes exactly the steps that were still to come.
"""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sentiment_ray.train.batches import CHUNK_ROWS, Batch, Chunk, training_batches
from sentiment_ray.train.checkpoint import STATE_NAME, Checkpoint, Progress, seal_checkpoint
from sentiment_ray.train.collectives import MAX, SUM, all_reduce, any_worker
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.model import compute_logits, merge_additions
from sentiment_ray.train.optimizer import clip_gradients
from sentiment_ray.train.schedule import compute_learning_rate, compute_score, should_stop
from sentiment_ray.train.setup import Training, Worker, set_up_training
from sentiment_ray.train.task import Task
from sentiment_ray.train.validation import measure_validation_split

CHECK_CLOCK_EVERY_BATCHES = 16
"""Batches between two checks whether a checkpoint is due; each check costs an all-reduce."""
SHOW_EVERY_S = 1.0


def fine_tune(config: TrainConfig, task: Task, worker: Worker, checkpoint: Checkpoint | None) -> list[dict[str, Any]]:
    """Train from the beginning or from a checkpoint, and return the metrics of each epoch.

    All workers call it together.
    """
    with tempfile.TemporaryDirectory() as directory:
        chunks = _read_epoch(task, worker)  # reads while the model is loaded
        training = set_up_training(config, task, worker, checkpoint, Path(directory))
        progress = checkpoint.progress if checkpoint else Progress()
        while progress.epoch < config.epochs and not should_stop(progress.history, config):
            progress = _train_epoch(training, progress, chunks)
            if progress.epoch + 1 < config.epochs:
                chunks = _read_epoch(task, worker)  # reads while the model is measured
            progress = _finish_epoch(training, progress)
            _save_checkpoint(training, progress, compute_score(progress.history[-1], config.best_by))
        return progress.history


def _count_chunks(task: Task, worker: Worker) -> int:
    """Return the number of chunks that each worker's training rows are divided into; the same on all workers."""
    return -(-task.train_rows // (worker.world_size * CHUNK_ROWS))


def _read_epoch(task: Task, worker: Worker) -> Iterator[Chunk]:
    """Begin to read a worker's training rows, in chunks of about equal size."""
    return worker.read_chunks("train", -(-task.train_rows // (worker.world_size * _count_chunks(task, worker))))


def _train_epoch(training: Training, progress: Progress, chunks: Iterator[Chunk]) -> Progress:
    """Take the remaining steps of an epoch and return the progress at its end, before the model is measured."""
    config, worker = training.config, training.worker
    training.parallel.train()
    started = shown = saved = time.monotonic()
    check_clock_every = max(1, CHECK_CLOCK_EVERY_BATCHES // config.accumulation_steps)
    loss_sum = torch.zeros((), dtype=torch.float64, device=worker.device)
    rows, tokens, done = progress.rows, progress.tokens, progress.done
    batches = _build_batches(training, progress, chunks)
    for step, group in enumerate(_group_batches(batches, config.accumulation_steps), start=1):
        middle = (done + group[-1].done) / 2
        rate = compute_learning_rate((progress.epoch + middle) / config.epochs, config)
        loss_sum += _take_step(training, group, progress.epoch, rate=rate)
        done = group[-1].done
        rows += sum(batch.num_texts for batch in group)
        tokens += sum(batch.num_tokens for batch in group)
        now = time.monotonic()
        if now - shown > SHOW_EVERY_S:
            shown = now
            worker.show(progress.epoch + done, float(loss_sum) / max(rows - progress.rows, 1) * worker.world_size)
        if step % check_clock_every == 0 and done < 1 and any_worker(now - saved > config.checkpoint_every_s):
            so_far = _advance(progress, loss_sum, rows, tokens, now - started, done)
            _save_checkpoint(training, so_far, score=None)
            saved = time.monotonic()
    return _advance(progress, loss_sum, rows, tokens, time.monotonic() - started, 1.0)


def _advance(
    progress: Progress, loss_sum: torch.Tensor, rows: int, tokens: int, seconds: float, done: float
) -> Progress:
    """Return the progress after some steps, with the loss summed over all workers."""
    total = progress.loss_sum + float(all_reduce(loss_sum.cpu().numpy(), SUM))
    return replace(progress, done=done, loss_sum=total, rows=rows, tokens=tokens, seconds=progress.seconds + seconds)


def _build_batches(training: Training, progress: Progress, chunks: Iterator[Chunk]) -> Iterator[Batch]:
    """Yield the batches of the epoch that come after `progress`."""
    config, worker = training.config, training.worker
    return training_batches(
        chunks,
        training.encoder,
        num_chunks=_count_chunks(training.task, worker),
        tokens_per_batch=config.tokens_per_batch,
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


def _take_step(training: Training, group: list[Batch], epoch: int, *, rate: float) -> torch.Tensor:
    """Update the weights by the gradient of the mean loss of a group's texts; return this worker's summed loss."""
    config, worker, model = training.config, training.worker, training.parallel
    # Data-parallel gradients are means over workers; the mean over the texts of all workers is needed.
    scale = worker.world_size / sum(batch.num_texts for batch in group)
    loss_sum = torch.zeros((), dtype=torch.float64, device=worker.device)
    for index, batch in enumerate(group):
        seed = np.random.SeedSequence([config.seed, epoch, worker.rank, round(batch.done * 2**40)])
        torch.manual_seed(int(seed.generate_state(1)[0]))
        is_last = index + 1 == len(group)
        with contextlib.nullcontext() if is_last else _keep_gradients_local(model):
            on_device = batch.to(worker.device)
            logits = compute_logits(model, on_device, training.encoder.truncation, bf16=training.bf16)
            loss = training.loss(logits, on_device)
            (loss * scale).backward()
        loss_sum += loss.detach()
    clip_gradients(model.parameters(), config.max_grad_norm)
    for optimizer in training.optimizers:
        for parameters in optimizer.param_groups:
            parameters["lr"] = rate * parameters["scale"]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss_sum


def _keep_gradients_local(model: torch.nn.Module) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which a data-parallel model adds up gradients without sending them to other workers."""
    return model.no_sync() if hasattr(model, "no_sync") else contextlib.nullcontext()  # type: ignore[operator]


def _finish_epoch(training: Training, progress: Progress) -> Progress:
    """Measure the model on the validation split and return the progress with the epoch's metrics in the history."""
    started = time.monotonic()
    measured = measure_validation_split(training)
    metrics = {
        "epoch": progress.epoch + 1,
        **measured,
        "loss": progress.loss_sum / progress.rows,
        "precision": "bf16" if training.bf16 else "fp32",
        "train_rows": progress.rows,
        "tokens": progress.tokens,
        "tokens_per_s": round(progress.tokens / progress.seconds, 1),
        "seconds": round(progress.seconds + time.monotonic() - started, 2),
    }
    return Progress(epoch=progress.epoch + 1, history=[*progress.history, metrics])


def _save_checkpoint(training: Training, progress: Progress, score: float | None) -> None:
    """Report a checkpoint that a training can resume from; rank 0 writes it, and all workers call this together."""
    name = f"epoch-{progress.epoch}" + (f"-and-{progress.done:.6f}" if progress.done else "")
    if training.worker.rank != 0:
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

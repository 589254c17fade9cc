"""The training loop, plain PyTorch: batches to steps, epochs to checkpoints; knows no Ray and runs without it.

Read it from `fine_tune`. All that is random in a step is drawn from its place in the training, so a loop that goes on
from a checkpoint takes the steps that were to come.
"""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from sentiment_ray.bundle.model_config import check_encoder
from sentiment_ray.errors import ConfigError
from sentiment_ray.metrics.classification import classification_metrics, confusion_counts
from sentiment_ray.text.encoding import TextEncoder, load_encoder
from sentiment_ray.text.truncation import truncation_of
from sentiment_ray.train.batches import (
    BLOCK_ROWS,
    WINDOW_ROWS,
    Batch,
    Window,
    blocks_of,
    evaluation_batches,
    training_batches,
)
from sentiment_ray.train.checkpoint import STATE_NAME, Checkpoint, Progress, seal_checkpoint
from sentiment_ray.train.collectives import MAX, SUM, any_worker, over_workers
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.loss import Loss, loss_of
from sentiment_ray.train.model import (
    choose_trained,
    load_model,
    load_tokenizer_files,
    logits_of,
    merged,
)
from sentiment_ray.train.optimizer import clip_gradients, optimizers_of
from sentiment_ray.train.precision import use_bf16
from sentiment_ray.train.schedule import has_stopped, learning_rate_at, score_of

CLOCK_EVERY_BATCHES = 16
"""Batches between two looks at the clock that all workers must agree on."""
SHOW_EVERY_S = 1.0


@dataclass(frozen=True)
class Task:
    """What there is to learn: labels, the weight of each in the loss, and the rows of the training split.

    `steps` are those that the reviews were cleaned by, as what else is trained on, or scored later, is.
    """

    labels: tuple[str, ...]
    class_weights: list[float]
    train_rows: int
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Worker:
    """One of the processes that train together, and what it needs from the outside.

    `windows` gives, for a split and a number of rows, this worker's share of `train` or every row of `validation`, and
    may begin to read when it is called. `wrap` makes a model data-parallel. `report` gets the directory of a
    checkpoint, on rank 0, or None, its name, the progress and the score of a finished epoch; all workers call it
    together. `show` gets epochs done and loss.
    """

    rank: int
    world_size: int
    device: torch.device
    windows: Callable[[str, int], Iterator[Window]]
    wrap: Callable[[torch.nn.Module], torch.nn.Module]
    report: Callable[[Path | None, str, Progress, float | None], None]
    show: Callable[[float, float], None]


@dataclass(frozen=True)
class Training:
    """What does not change while a model is trained, but for the weights and the optimizer's state."""

    config: TrainConfig
    task: Task
    worker: Worker
    encoder: TextEncoder
    tokenizer_files: Path
    model: torch.nn.Module
    """The model, with low-rank additions where they are asked for."""
    parallel: torch.nn.Module
    """The same, wrapped, so that gradients are those of all workers."""
    optimizers: tuple[torch.optim.Optimizer, ...]
    loss: Loss
    bf16: bool


def fine_tune(config: TrainConfig, task: Task, worker: Worker, start: Checkpoint | None) -> list[dict[str, Any]]:
    """Train from the beginning or a checkpoint and return a line of metrics an epoch; all workers call it together."""
    with tempfile.TemporaryDirectory() as directory:
        windows = _windows_of_epoch(task, worker)  # is read beside the loading of the model
        training = _begin(config, task, worker, start, Path(directory))
        progress = start.progress if start else Progress()
        while progress.epoch < config.epochs and not has_stopped(progress.history, config):
            progress = _train_epoch(training, progress, windows)
            if progress.epoch + 1 < config.epochs:
                windows = _windows_of_epoch(task, worker)  # beside the evaluation
            progress = _finish_epoch(training, progress)
            _save(training, progress, score_of(progress.history[-1], config.best_by))
        return progress.history


def _begin(config: TrainConfig, task: Task, worker: Worker, start: Checkpoint | None, directory: Path) -> Training:
    """Load model, tokenizer and optimizer as they came, or as they were at a checkpoint."""
    torch.manual_seed(config.seed)
    # Low-rank additions are merged in a checkpoint, so the model is made again and they are put back.
    source = str(start.path) if start and not config.lora_rank else config.model
    load_tokenizer_files(source, directory)
    model = load_model(source, task.labels, dropout=config.dropout, device=worker.device)
    told = model.config.to_dict()
    check_encoder(told, config.model, max_tokens=config.max_tokens, frozen_layers=config.frozen_layers)
    if config.gradient_checkpointing:
        if not model.supports_gradient_checkpointing:
            raise ConfigError(f"gradient_checkpointing: a model of type {model.config.model_type!r} cannot. Drop it.")
        # The reentrant kind gives no gradient to layers above frozen embeddings.
        model.gradient_checkpointing_enable({"use_reentrant": False})
    trained = choose_trained(model, frozen_layers=config.frozen_layers, lora_rank=config.lora_rank)
    optimizers = optimizers_of(trained, config, worker.device)
    state = torch.load(start.path / STATE_NAME, weights_only=True, map_location=worker.device) if start else None
    if state:
        for optimizer, found in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(found)
        trained.load_state_dict(state["additions"], strict=False)
    return Training(
        config=config,
        task=task,
        worker=worker,
        encoder=load_encoder(
            directory / "tokenizer.json",
            max_tokens=config.max_tokens,
            truncation=truncation_of(config.model_dump()),
            steps=task.steps,
        ),
        tokenizer_files=directory,
        model=trained,
        parallel=worker.wrap(trained),
        optimizers=optimizers,
        loss=loss_of(config, task.class_weights, worker.device),
        # Settled once for all workers and starts, whichever machine they are on, so that the numbers stay the same.
        bf16=state["bf16"] if state else any_worker(worker.rank == 0 and use_bf16(config.precision, worker.device)),
    )


def _num_windows(task: Task, worker: Worker) -> int:
    """Return into how many windows a worker's training rows are divided, the same for all workers."""
    return -(-task.train_rows // (worker.world_size * WINDOW_ROWS))


def _windows_of_epoch(task: Task, worker: Worker) -> Iterator[Window]:
    """Begin to read a worker's training rows, in windows of about one size."""
    return worker.windows("train", -(-task.train_rows // (worker.world_size * _num_windows(task, worker))))


def _train_epoch(training: Training, progress: Progress, windows: Iterator[Window]) -> Progress:
    """Take what is left of an epoch and return the progress at its end, before it is evaluated."""
    config, worker = training.config, training.worker
    training.parallel.train()
    started = shown = saved = time.monotonic()
    clock_every = max(1, CLOCK_EVERY_BATCHES // config.accumulation_steps)
    sums = torch.zeros((), dtype=torch.float64, device=worker.device)
    rows, tokens, done = progress.rows, progress.tokens, progress.done
    for step, group in enumerate(
        _groups(_epoch_batches(training, progress, windows), config.accumulation_steps), start=1
    ):
        middle = (done + group[-1].done) / 2
        sums += _take_step(
            training, group, progress.epoch, rate=learning_rate_at((progress.epoch + middle) / config.epochs, config)
        )
        done = group[-1].done
        rows += sum(batch.num_rows for batch in group)
        tokens += sum(batch.num_tokens for batch in group)
        now = time.monotonic()
        if now - shown > SHOW_EVERY_S:
            shown = now
            worker.show(progress.epoch + done, float(sums) / max(rows - progress.rows, 1) * worker.world_size)
        if step % clock_every == 0 and done < 1 and any_worker(now - saved > config.checkpoint_every_s):
            so_far = _advanced(progress, sums, rows, tokens, now - started, done)
            _save(training, so_far, score=None)
            saved = time.monotonic()
    return _advanced(progress, sums, rows, tokens, time.monotonic() - started, 1.0)


def _advanced(progress: Progress, sums: torch.Tensor, rows: int, tokens: int, seconds: float, done: float) -> Progress:
    """Return the progress after some steps, with what all workers lost in them."""
    loss_sum = progress.loss_sum + float(over_workers(sums.cpu().numpy(), SUM))
    return replace(progress, done=done, loss_sum=loss_sum, rows=rows, tokens=tokens, seconds=progress.seconds + seconds)


def _epoch_batches(training: Training, progress: Progress, windows: Iterator[Window]) -> Iterator[Batch]:
    config, worker = training.config, training.worker
    return training_batches(
        windows,
        training.encoder,
        num_windows=_num_windows(training.task, worker),
        tokens_per_batch=config.tokens_per_batch,
        seed=(config.seed, progress.epoch, worker.rank),
        after=progress.done,
        largest=lambda counts: over_workers(counts, MAX),
        total=lambda counts: over_workers(counts, SUM),
    )


def _groups(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    """Yield the batches whose gradients make one step together."""
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size or batch.done >= 1:
            yield group
            group = []


def _take_step(training: Training, group: list[Batch], epoch: int, *, rate: float) -> torch.Tensor:
    """Update the weights by the gradient of the mean loss over a group's rows, and return this worker's summed loss."""
    config, worker, model = training.config, training.worker, training.parallel
    # Data-parallel gradients are means over workers, and the mean over the rows of all is wanted.
    scale = worker.world_size / sum(batch.num_rows for batch in group)
    sums = torch.zeros((), dtype=torch.float64, device=worker.device)
    for place, batch in enumerate(group, start=1):
        seed = np.random.SeedSequence([config.seed, epoch, worker.rank, round(batch.done * 2**40)])
        torch.manual_seed(int(seed.generate_state(1)[0]))
        with _gradients_stay_here(model, unless=place == len(group)):
            moved = batch.to(worker.device)
            loss = training.loss(logits_of(model, moved, training.encoder.truncation, bf16=training.bf16), moved)
            (loss * scale).backward()
        sums += loss.detach()
    clip_gradients(model.parameters(), config.max_grad_norm)
    for optimizer in training.optimizers:
        for parameters in optimizer.param_groups:
            parameters["lr"] = rate * parameters["scale"]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return sums


@torch.no_grad()
def _finish_epoch(training: Training, progress: Progress) -> Progress:
    """Measure the model on the whole validation split and return the progress with the epoch's line in the history.

    Each worker takes every n-th block of rows; counts are summed, so they are the same for any number of workers.
    """
    labels, worker, started = training.task.labels, training.worker, time.monotonic()
    training.model.eval()
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    loss_sum = 0.0
    blocks = worker.windows("validation", BLOCK_ROWS)
    for block in blocks_of(blocks, rank=worker.rank, world_size=worker.world_size):
        for batch in evaluation_batches(block, training.encoder, tokens_per_batch=training.config.tokens_per_batch):
            batch = batch.to(worker.device)
            logits = logits_of(training.model, batch, training.encoder.truncation, bf16=training.bf16)
            loss_sum += float(functional.cross_entropy(logits, batch.label_ids, reduction="sum"))
            predicted = logits.argmax(dim=1).cpu().numpy()
            counts += confusion_counts(batch.label_ids.cpu().numpy(), predicted, len(labels))
    counts = over_workers(counts, SUM)
    loss_sum = float(over_workers(np.array(loss_sum), SUM))
    line = {
        "epoch": progress.epoch + 1,
        **classification_metrics(counts),
        "validation_loss": loss_sum / max(int(counts.sum()), 1),
        "loss": progress.loss_sum / progress.rows,
        "precision": "bf16" if training.bf16 else "fp32",
        "train_rows": progress.rows,
        "tokens": progress.tokens,
        "tokens_per_s": round(progress.tokens / progress.seconds, 1),
        "seconds": round(progress.seconds + time.monotonic() - started, 2),
    }
    return Progress(epoch=progress.epoch + 1, history=[*progress.history, line])


def _save(training: Training, progress: Progress, score: float | None) -> None:
    """Report a checkpoint that everything can go on from; rank 0 writes it, and all workers meet here."""
    name = f"epoch-{progress.epoch}" + (f"-and-{progress.done:.6f}" if progress.done else "")
    if training.worker.rank != 0:
        training.worker.report(None, name, progress, score)
        return
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        merged(training.model).save_pretrained(directory, safe_serialization=True)
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


def _gradients_stay_here(model: torch.nn.Module, *, unless: bool) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which a data-parallel model adds up gradients without sending them to the other workers."""
    if unless or not hasattr(model, "no_sync"):
        return contextlib.nullcontext()
    return model.no_sync()  # type: ignore[operator]

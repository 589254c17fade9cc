"""Loads what a training needs before its first step: model, tokenizer, optimizers, loss; knows no Ray.

A training that resumes gets all of it as it was at its checkpoint.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sentiment_ray.bundle.model_config import check_encoder
from sentiment_ray.errors import ConfigError
from sentiment_ray.pretrained.tokenizer_files import load_tokenizer_files
from sentiment_ray.text.encoding import TextEncoder, load_encoder
from sentiment_ray.text.truncation import read_truncation
from sentiment_ray.train.batches import Chunk
from sentiment_ray.train.checkpoint import STATE_NAME, Checkpoint, Progress
from sentiment_ray.train.collectives import any_worker
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.contrast import add_contrast
from sentiment_ray.train.device import prepare_device
from sentiment_ray.train.divergence import find_non_finite_weight
from sentiment_ray.train.loss import Loss, build_loss
from sentiment_ray.train.model import choose_trained, load_model
from sentiment_ray.train.optimizer import build_optimizers
from sentiment_ray.train.precision import use_bf16
from sentiment_ray.train.step_log import StepResult
from sentiment_ray.train.task import Task


@dataclass(frozen=True)
class Worker:
    """One of the processes that train together, and its connections to the outside."""

    rank: int
    world_size: int
    device: torch.device
    read_chunks: Callable[[str, int, int], Iterator[Chunk]]
    """Takes a split, the rows of a chunk, and the number of an order; returns this worker's rows of `train` in that
    order, or all rows of `validation`, of which there is only order 0. It may begin to read before the first chunk is
    asked for."""
    wrap: Callable[[torch.nn.Module], torch.nn.Module]
    """Makes a model data-parallel."""
    report: Callable[[Path | None, str, Progress, float | None], None]
    """Takes a checkpoint's directory on rank 0 (None on others), its name, the progress, and the score of a finished
    epoch (None within an epoch). All workers call it together."""
    show: Callable[[float, float], None]
    """Takes the epochs done, with a fraction, and the mean loss of the current epoch."""
    keeps_checkpoints: bool = True
    """Whether `report` needs the checkpoint's directory; without it nothing is written."""
    record: Callable[[Sequence[StepResult]], None] = lambda results: None
    """Takes the results of the steps since the last call."""


@dataclass(frozen=True)
class Training:
    """What stays the same while a model trains, except the weights and the state of the optimizers."""

    config: TrainConfig
    task: Task
    worker: Worker
    encoder: TextEncoder
    tokenizer_files: Path
    model: torch.nn.Module
    """The model, with low-rank additions if `lora_rank` is set."""
    parallel: torch.nn.Module
    """The same model, wrapped so that its gradients are means over all workers."""
    optimizers: tuple[torch.optim.Optimizer, ...]
    loss: Loss
    bf16: bool


def set_up_training(
    config: TrainConfig, task: Task, worker: Worker, checkpoint: Checkpoint | None, directory: Path
) -> Training:
    """Return a training at its beginning, or as it was at a checkpoint; tokenizer files are written to `directory`.

    All workers call it together. ConfigError when the model cannot be trained with these keys.
    """
    prepare_device(worker.device)
    torch.manual_seed(config.seed)
    # A checkpoint holds low-rank additions merged, so with them the base model is loaded and they are restored below.
    source, revision = config.model, config.revision
    if checkpoint and not config.lora_rank:
        source, revision = str(checkpoint.path), None
    load_tokenizer_files(source, directory, revision)
    model = load_model(source, task.labels, dropout=config.dropout, device=worker.device, revision=revision)
    weight = find_non_finite_weight(model)
    if weight:
        raise ConfigError(
            f"model = {source!r}: its weight {weight} holds NaN or infinite numbers. Name a sound copy of the model."
        )
    check_encoder(
        model.config.to_dict(), config.model, max_tokens=config.max_tokens, frozen_layers=config.frozen_layers
    )
    if config.gradient_checkpointing:
        if not model.supports_gradient_checkpointing:
            raise ConfigError(
                f"gradient_checkpointing: a model of type {model.config.model_type!r} does not support it. Remove it."
            )
        # The reentrant kind gives no gradient to layers above frozen embeddings.
        model.gradient_checkpointing_enable({"use_reentrant": False})
    trained = choose_trained(model, frozen_layers=config.frozen_layers, lora_rank=config.lora_rank)
    optimizers = build_optimizers(trained, config, worker.device)
    bf16 = None
    if checkpoint:
        state = torch.load(checkpoint.path / STATE_NAME, weights_only=True, map_location=worker.device)
        for optimizer, optimizer_state in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(optimizer_state)
        trained.load_state_dict(state["additions"], strict=False)
        bf16 = state["bf16"]
    if bf16 is None:
        # Rank 0 decides for all workers, and a checkpoint keeps the choice, so a resumed run gives the same numbers.
        bf16 = any_worker(worker.rank == 0 and use_bf16(config.precision, worker.device))
    loss = build_loss(config, task.class_weights, worker.device)
    if config.contrastive_weight:
        loss = add_contrast(loss, trained, num_labels=len(task.labels), weight=config.contrastive_weight)
    return Training(
        config=config,
        task=task,
        worker=worker,
        encoder=load_encoder(
            directory / "tokenizer.json",
            max_tokens=config.max_tokens,
            truncation=read_truncation(config.model_dump()),
            cleaning_steps=task.cleaning_steps,
        ),
        tokenizer_files=directory,
        model=trained,
        parallel=worker.wrap(trained),
        optimizers=optimizers,
        loss=loss,
        bf16=bf16,
    )

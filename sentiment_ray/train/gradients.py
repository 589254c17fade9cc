"""Adds up the gradients of one optimizer step, in parts where the memory is too small for a batch; knows no Ray."""

import contextlib
from typing import Any

import numpy as np
import torch

from sentiment_ray.train.batches import Batch, divide_batch
from sentiment_ray.train.device import seed_generators
from sentiment_ray.train.divergence import describe_full_memory
from sentiment_ray.train.model import compute_logits
from sentiment_ray.train.setup import Training
from sentiment_ray.train.step_log import NUM_SUMS, count_texts


def add_gradients(
    training: Training, group: list[Batch], epoch: int, *, num_parts: int = 1
) -> tuple[torch.Tensor, int]:
    """Compute the gradient of the mean loss of a group's texts.

    Each batch is computed in `num_parts` parts, or in more when the memory of the GPU does not hold them. The gradient
    is the same but for rounding. Return this worker's sums of the texts, as `count_texts` does, on the training's
    device, and the number of parts. ConfigError when the batches cannot be divided.
    """
    while True:
        sums = _try_parts(training, group, epoch, num_parts)
        if sums is not None:
            return sums, num_parts
        num_parts *= 2


def _try_parts(training: Training, group: list[Batch], epoch: int, num_parts: int) -> torch.Tensor | None:
    """Return the sums of a group whose batches are computed in parts; None, without gradients, if memory lacks."""
    try:
        return _add_gradients(training, group, epoch, num_parts)
    except torch.OutOfMemoryError as error:
        # Several workers wait for each other's gradients. The contrastive loss compares all texts of a batch.
        is_whole = training.worker.world_size > 1 or bool(training.config.contrastive_weight)
        if is_whole or num_parts >= max(len(batch.label_ids) for batch in group):
            raise describe_full_memory(training.config) from error
    for optimizer in training.optimizers:  # after the except clause, which holds all that the step had computed
        optimizer.zero_grad(set_to_none=True)
    return None


def _add_gradients(training: Training, group: list[Batch], epoch: int, num_parts: int) -> torch.Tensor:
    config, worker, model = training.config, training.worker, training.parallel
    # Data-parallel gradients are means over workers; the mean over the texts of all workers is needed.
    scale = worker.world_size / sum(batch.num_texts for batch in group)
    sums = torch.zeros(NUM_SUMS, dtype=torch.float64, device=worker.device)
    parts = [(index, part) for batch in group for index, part in enumerate(divide_batch(batch, num_parts))]
    for number, (index, part) in enumerate(parts, start=1):
        position = [config.seed, epoch, worker.rank, round(part.done * 2**40), *([index] if index else [])]
        seed_generators(int(np.random.SeedSequence(position).generate_state(1)[0]), worker.device)
        with contextlib.nullcontext() if number == len(parts) else _keep_gradients_local(model):
            on_device = part.to(worker.device)
            logits = compute_logits(model, on_device, training.encoder.truncation, bf16=training.bf16)
            loss = training.loss(logits, on_device)
            scaled = loss * scale
            # A loss that is not finite may have a finite gradient. It gets NaN, which reaches all workers. Not
            # `torch.where` with numbers: torch copies each of them to a GPU and waits until all before it is done.
            scaled.backward(scaled.detach() * 0 + 1)
        sums += count_texts(loss, logits, on_device)
    return sums


def _keep_gradients_local(model: torch.nn.Module) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which a data-parallel model adds up gradients without sending them to other workers."""
    return model.no_sync() if hasattr(model, "no_sync") else contextlib.nullcontext()  # type: ignore[operator]

"""What training minimises. To change the loss, change `build_loss`.

It is a weighted cross entropy, with label smoothing and focal loss, plus the distance to a teacher's answers.
"""

from collections.abc import Callable

import torch
from torch.nn import functional

from sentiment_ray.train.batches import NO_LABEL, Batch
from sentiment_ray.train.config import TrainConfig

MIN_DOUBT = 1e-6
"""Smallest value of 1 - p in the focal loss: at 0 the slope of x^gamma is infinite for a gamma below 1."""
Loss = Callable[[torch.Tensor, Batch], torch.Tensor]
"""Takes float32 logits `(texts, labels)` and their batch, and returns the sum of the losses of its texts, a scalar."""


def build_loss(config: TrainConfig, class_weights: list[float], device: torch.device) -> Loss:
    """Return the loss function that the keys of [train] describe.

    The loss of a text with a label is multiplied by the label's weight and, with focal_gamma, by (1 - p)^gamma, where p
    is the probability of its label (https://arxiv.org/abs/1708.02002). For a text that a teacher scored, the distance
    to the teacher's answer is added (https://arxiv.org/abs/1503.02531).
    """
    weights = torch.tensor(class_weights, dtype=torch.float32, device=device)

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        known = batch.label_ids.clamp(min=0)
        # Not `weight=`: with smoothed labels torch would multiply each label's share by that label's own weight.
        losses = weights[known] * functional.cross_entropy(
            logits,
            batch.label_ids,
            reduction="none",
            ignore_index=NO_LABEL,
            label_smoothing=config.label_smoothing,
        )
        if config.focal_gamma:
            probability = logits.softmax(dim=1).gather(1, known.unsqueeze(1)).squeeze(1)
            losses = losses * (1 - probability).clamp(min=MIN_DOUBT) ** config.focal_gamma
        if config.distill and batch.teacher is not None:
            distance = distillation_loss(logits, batch.teacher, temperature=config.distill.temperature)
            losses = losses + config.distill.weight * distance
        return losses.sum()

    return loss


def distillation_loss(logits: torch.Tensor, teacher: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """Return T^2 x KL(teacher, student) at a temperature T, float32 `(texts,)`.

    `logits` and `teacher`, the teacher's probabilities, are float32 `(texts, labels)`. The distance is 0 for a text
    whose teacher probabilities are all 0.
    """
    softened = teacher ** (1 / temperature)
    softened = softened / softened.sum(dim=1, keepdim=True).clamp(min=1e-30)
    student = functional.log_softmax(logits / temperature, dim=1)
    return temperature**2 * (torch.xlogy(softened, softened) - softened * student).sum(dim=1)

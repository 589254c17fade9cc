"""What training minimises: cross entropy with weights, smoothed labels or focus, and the distance to a teacher."""

from collections.abc import Callable

import torch
from torch.nn import functional

from sentiment_ray.train.batches import NO_LABEL, Batch
from sentiment_ray.train.config import TrainConfig

LEAST_DOUBT = 1e-6
Loss = Callable[[torch.Tensor, Batch], torch.Tensor]


def loss_of(config: TrainConfig, class_weights: list[float], device: torch.device) -> Loss:
    """Return the loss: float32 logits `(batch, labels)` and their batch to the sum over its rows, a scalar.

    The loss of a row with a label is multiplied by the label's weight and, with focal_gamma, by (1 - p)^gamma, p the
    probability of its label (https://arxiv.org/abs/1708.02002). A row that a teacher has scored adds what the teacher
    would lose by the student's answer (https://arxiv.org/abs/1503.02531).
    """
    weights = torch.tensor(class_weights, dtype=torch.float32, device=device)

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        known = batch.label_ids.clamp(min=0)
        # Not `weight=`: with smoothed labels torch would multiply each label's share by that label's own weight.
        rows = weights[known] * functional.cross_entropy(
            logits,
            batch.label_ids,
            reduction="none",
            ignore_index=NO_LABEL,
            label_smoothing=config.label_smoothing,
        )
        if config.focal_gamma:
            probability = logits.softmax(dim=1).gather(1, known.unsqueeze(1)).squeeze(1)
            # At 0 the slope of x^gamma is infinite for a gamma below 1.
            rows = rows * (1 - probability).clamp(min=LEAST_DOUBT) ** config.focal_gamma
        if config.distill and batch.teacher is not None:
            distance = distillation_loss(logits, batch.teacher, temperature=config.distill.temperature)
            rows = rows + config.distill.weight * distance
        return rows.sum()

    return loss


def distillation_loss(logits: torch.Tensor, teacher: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """Return T^2 x KL(teacher, student) at a temperature T, a row each; 0 where the teacher gave nothing but zeros."""
    softened = teacher ** (1 / temperature)
    softened = softened / softened.sum(dim=1, keepdim=True).clamp(min=1e-30)
    student = functional.log_softmax(logits / temperature, dim=1)
    return temperature**2 * (torch.xlogy(softened, softened) - softened * student).sum(dim=1)

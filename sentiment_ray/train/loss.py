"""What training minimises: cross entropy with class weights, smoothed labels or focus on the hard rows."""

from collections.abc import Callable

import torch
from torch.nn import functional

from sentiment_ray.train.batches import NO_LABEL
from sentiment_ray.train.config import TrainConfig

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def loss_of(config: TrainConfig, class_weights: list[float], device: torch.device) -> Loss:
    """Return the loss: float32 logits `(batch, labels)` and label ids `(batch,)` to the sum over the rows, a scalar.

    A row's loss is multiplied by its label's weight and, with focal_gamma, by (1 - p)^gamma, p the probability of its
    label (https://arxiv.org/abs/1708.02002).
    """
    weights = torch.tensor(class_weights, dtype=torch.float32, device=device)

    def loss(logits: torch.Tensor, label_ids: torch.Tensor) -> torch.Tensor:
        rows = functional.cross_entropy(
            logits,
            label_ids,
            weight=weights,
            reduction="none",
            ignore_index=NO_LABEL,
            label_smoothing=config.label_smoothing,
        )
        if config.focal_gamma:
            known = label_ids.clamp(min=0).unsqueeze(1)
            probability = logits.softmax(dim=1).gather(1, known).squeeze(1)
            rows = rows * (1 - probability) ** config.focal_gamma
        return rows.sum()

    return loss

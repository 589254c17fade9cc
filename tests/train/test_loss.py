"""The loss of a row is the one that the keys describe, and its gradient is finite everywhere."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from sentiment_ray.train.batches import NO_LABEL, Batch
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.loss import build_loss

WEIGHTS = [100 / 3, 100 / 147, 100 / 150]


def _loss(logits: torch.Tensor, labels: list[int], weights: list[float], **keys: Any) -> torch.Tensor:
    config = TrainConfig(prepared="p", model="m", output="o", **keys)
    zeros = torch.zeros(len(labels), 1, dtype=torch.int64)
    batch = Batch(zeros, zeros, zeros[:, 0], torch.tensor(labels), None, len(labels), len(labels), 1.0, 1)
    return build_loss(config, weights, torch.device("cpu"))(logits, batch)


def test_a_class_weight_multiplies_the_smoothed_loss_of_rows_with_that_label_only() -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32))
    labels = [0, 1, 2, 1, 1, NO_LABEL]
    plain = functional.cross_entropy(logits[:5], torch.tensor(labels[:5]), label_smoothing=0.1, reduction="none")
    expected = sum(WEIGHTS[label] * float(loss) for label, loss in zip(labels[:5], plain, strict=True))
    assert float(_loss(logits, labels, WEIGHTS, label_smoothing=0.1)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_the_focal_loss_has_a_finite_gradient_where_the_model_is_certain(gamma: float) -> None:
    logits = torch.tensor([[30.0, -30.0], [-30.0, 30.0], [40.0, 0.0]], requires_grad=True)
    _loss(logits, [0, 0, NO_LABEL], [1.0, 1.0], focal_gamma=gamma).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1, 0] < -0.9

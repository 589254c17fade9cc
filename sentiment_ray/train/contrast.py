"""A second loss for few rows, which draws texts of one label together and others apart; knows no data and no Ray."""

import torch
from torch import nn
from torch.nn import functional

from sentiment_ray.pretrained.patches import record_inputs_of_last_layer
from sentiment_ray.train.batches import NO_LABEL, Batch
from sentiment_ray.train.loss import Loss

TEMPERATURE = 0.1
"""Divides the cosines; a lower one looks at the nearest texts alone."""


def add_contrast(loss: Loss, model: nn.Module, *, num_labels: int, weight: float) -> Loss:
    """Return the loss plus `weight` times the contrastive loss of what the model's last layer reads of each text.

    The pair of losses is that of https://arxiv.org/abs/2011.01403.
    """
    read = record_inputs_of_last_layer(model, num_labels)

    def loss_with_contrast(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        features = mean_by_text(read.pop().float(), batch)
        return loss(logits, batch) + weight * contrastive_loss(features, batch.label_ids)

    return loss_with_contrast


def mean_by_text(features: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the mean of the features `(rows, width)` over the rows of each text: `(texts, width)`."""
    num_texts = len(batch.label_ids)
    if len(features) == num_texts:
        return features
    sums = torch.zeros(num_texts, features.shape[1], device=features.device).index_add(0, batch.owners, features)
    return sums / torch.bincount(batch.owners, minlength=num_texts).unsqueeze(1)


def contrastive_loss(features: torch.Tensor, label_ids: torch.Tensor) -> torch.Tensor:
    """Return the supervised contrastive loss (https://arxiv.org/abs/2004.11362), summed over the texts: a scalar.

    `features` are float32 `(texts, width)`. A text without a label, or without another text of its label, adds 0.
    """
    is_labelled = label_ids != NO_LABEL
    vectors, ids = functional.normalize(features[is_labelled]), label_ids[is_labelled]
    if len(ids) < 2:
        return features.new_zeros(())
    is_self = torch.eye(len(ids), dtype=torch.bool, device=features.device)
    is_same = (ids.unsqueeze(1) == ids) & ~is_self
    log_shares = (vectors @ vectors.T / TEMPERATURE).masked_fill(is_self, -torch.inf).log_softmax(dim=1)
    sums = log_shares.masked_fill(~is_same, 0.0).sum(dim=1)
    return -(sums / is_same.sum(dim=1).clamp(min=1)).sum()

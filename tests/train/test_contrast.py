"""The contrastive loss is that of the paper, counts labelled texts alone, and reaches the layers below the head."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sentiment_ray.text.encoding import load_encoder
from sentiment_ray.text.truncation import HEAD, TokenWindows, Truncation
from sentiment_ray.train.batches import NO_LABEL, Batch, Chunk, evaluation_batches
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.contrast import TEMPERATURE, add_contrast, contrastive_loss
from sentiment_ray.train.loss import build_loss
from sentiment_ray.train.model import choose_trained, compute_logits, load_model
from tests.conftest import LABELS


def _compute_slowly(features: np.ndarray, label_ids: list[int]) -> float:
    """Return the sum over the texts, one pair at a time."""
    vectors = features / np.linalg.norm(features, axis=1, keepdims=True)
    total = 0.0
    for one, label in enumerate(label_ids):
        others = [index for index, other in enumerate(label_ids) if index != one and other != NO_LABEL]
        same = [index for index in others if label_ids[index] == label]
        if label == NO_LABEL or not same:
            continue
        share = {index: np.exp(vectors[one] @ vectors[index] / TEMPERATURE) for index in others}
        total -= float(np.mean([np.log(share[index] / sum(share.values())) for index in same]))
    return total


@pytest.mark.parametrize(
    "label_ids", [[0, 0, 1, 1, 2], [0, 1, 2], [0, 0], [1, NO_LABEL, 1, 0, NO_LABEL], [NO_LABEL], [2]]
)
def test_the_loss_is_that_of_the_definition(label_ids: list[int]) -> None:
    features = np.random.default_rng(0).normal(size=(len(label_ids), 7)).astype(np.float32)
    loss = contrastive_loss(torch.from_numpy(features), torch.tensor(label_ids))
    assert float(loss) == pytest.approx(_compute_slowly(features, label_ids), abs=1e-4)


def _gradients(tiny_encoder: Path, truncation: Truncation, weight: float, **keys: Any) -> tuple[float, float]:
    """Return the loss of a batch, and the largest gradient below the head when the head itself learns nothing."""
    config = TrainConfig(prepared="p", model="m", output="o")
    device = torch.device("cpu")
    torch.manual_seed(0)
    model = load_model(str(tiny_encoder), LABELS, dropout=0.0, device=device)
    torch.nn.init.zeros_(model.classifier.weight)  # so the first loss has no gradient below the head
    trained = choose_trained(model, **{"frozen_layers": 0, "lora_rank": None} | keys)
    loss = build_loss(config, [1.0] * 3, device)
    if weight:
        loss = add_contrast(loss, trained, num_labels=3, weight=weight)
    texts = ["tea " * 9, "We are on the fourth floor.", "She lied to me", "What a miserable day"]
    encoder = load_encoder(tiny_encoder / "tokenizer.json", max_tokens=6, truncation=truncation)
    (batch,) = evaluation_batches(Chunk(texts, np.array([0, 1, 1, 0])), encoder, tokens_per_batch=1000)
    assert isinstance(batch, Batch)
    trained.train()
    value = loss(compute_logits(trained, batch, truncation, bf16=False), batch)
    value.backward()
    below = [p.grad for name, p in trained.named_parameters() if p.grad is not None and "classifier" not in name]
    return float(value.detach()), max(float(gradient.abs().max()) for gradient in below)


@pytest.mark.parametrize("truncation", [HEAD, TokenWindows(pooling="mean", overlap=0.0, max_windows=8)])
@pytest.mark.parametrize("keys", [{}, {"lora_rank": 3}])
def test_it_is_added_with_its_weight_and_moves_the_layers_below_the_head(
    tiny_encoder: Path, truncation: Truncation, keys: dict[str, Any]
) -> None:
    if keys:
        pytest.importorskip("peft")
    (without, still), (once, moved), (twice, _) = (
        _gradients(tiny_encoder, truncation, weight, **keys) for weight in (0.0, 1.0, 2.0)
    )
    assert still == 0 < moved
    assert twice - once == pytest.approx(once - without, rel=1e-4)

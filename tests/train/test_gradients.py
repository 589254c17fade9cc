"""A batch that the memory does not hold is computed in parts, with the same gradient, or refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sentiment_ray.errors import ConfigError
from sentiment_ray.text.encoding import load_encoder
from sentiment_ray.text.truncation import TokenWindows
from sentiment_ray.train import gradients
from sentiment_ray.train.batches import Batch, Chunk, divide_batch, evaluation_batches
from tests.train.training import CheckpointStore, Train, load_weights


def _limit_memory(monkeypatch: pytest.MonkeyPatch, num_tokens: int) -> list[int]:
    """Let batches of more than `num_tokens` tokens fail as on a GPU, after they were computed; return the sizes."""
    sizes: list[int] = []
    compute_logits = gradients.compute_logits

    def compute(model: Any, batch: Batch, *rest: Any, **named: Any) -> torch.Tensor:
        sizes.append(batch.input_ids.numel())
        logits = compute_logits(model, batch, *rest, **named)
        if sizes[-1] > num_tokens:
            logits.sum().backward()  # some gradients were added before the memory was full
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return logits

    monkeypatch.setattr(gradients, "compute_logits", compute)
    return sizes


@pytest.mark.parametrize("changes", [{}, {"accumulation_steps": 3}, {"tokens_per_batch": 512}])
def test_a_batch_that_the_memory_does_not_hold_is_computed_in_parts(
    train: Train, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    keys = {"epochs": 1, "dropout": 0.0, "learning_rate": 1e-3} | changes
    (whole,) = train(**keys)
    steps = [step.loss for step in store.steps]
    store.steps.clear()
    sizes = _limit_memory(monkeypatch, 70)
    (in_parts,) = train(**keys)
    assert sum(size > 70 for size in sizes) <= 4, "a size that failed is not tried again in every step"
    assert in_parts["skipped_steps"] == 0
    assert [in_parts[key] for key in ("steps", "train_rows", "tokens")] == [
        whole[key] for key in ("steps", "train_rows", "tokens")
    ]
    assert [step.loss for step in store.steps] == pytest.approx(steps, rel=1e-3)
    before, after = (load_weights(checkpoint) for checkpoint in store.checkpoints())
    for name, values in before.items():
        torch.testing.assert_close(after[name], values, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("num_tokens", "changes"), [(0, {}), (70, {"contrastive_weight": 1.0}), (0, {"tokens_per_batch": 1})]
)
def test_a_batch_that_cannot_be_divided_is_refused_with_the_keys_that_make_it_smaller(
    train: Train, monkeypatch: pytest.MonkeyPatch, num_tokens: int, changes: dict[str, Any]
) -> None:
    _limit_memory(monkeypatch, num_tokens)
    tokens = changes.get("tokens_per_batch", 128)
    message = rf"a batch of {tokens} tokens\. Set tokens_per_batch = {max(tokens // 2, 1)}, and accumulation_steps = 6 "
    with pytest.raises(ConfigError, match=message):
        train(accumulation_steps=3, **changes)


@pytest.mark.parametrize("num_parts", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("has_teacher", [False, True])
def test_the_parts_of_a_batch_hold_its_texts_with_all_their_windows(
    tiny_encoder: Path, num_parts: int, has_teacher: bool
) -> None:
    windows = TokenWindows(pooling="mean", overlap=0.0, max_windows=8)
    encoder = load_encoder(tiny_encoder / "tokenizer.json", max_tokens=4, truncation=windows)
    teacher = np.random.default_rng(0).random((9, 3), dtype=np.float32) if has_teacher else None
    chunk = Chunk([f"tea {'bad ' * row}" for row in range(9)], np.arange(9), teacher)
    (batch,) = evaluation_batches(chunk, encoder, tokens_per_batch=10_000)
    parts = divide_batch(batch, num_parts)
    assert len(parts) == min(num_parts, 9)
    for name in ("input_ids", "attention_mask", "label_ids", *(["teacher"] if has_teacher else [])):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))
    for part in parts:
        assert part.owners.unique().tolist() == list(range(len(part.label_ids)))
    starts = np.cumsum([0, *(len(part.label_ids) for part in parts[:-1])]).tolist()
    owners = [part.owners + start for part, start in zip(parts, starts, strict=True)]
    assert torch.equal(torch.cat(owners), batch.owners)

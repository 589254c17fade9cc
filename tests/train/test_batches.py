"""Training batches: every row once, the same number on every worker."""

from pathlib import Path

import numpy as np
import pytest

from sentiment_ray.encoding import load_encoder
from sentiment_ray.train.batches import split_to, training_batches
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.loop import learning_rate_at


@pytest.mark.parametrize("agreed", [0, 40])
def test_every_row_of_every_window_is_used_once_in_as_many_batches_as_agreed(tiny_encoder: Path, agreed: int) -> None:
    encoder = load_encoder(tiny_encoder / "tokenizer.json", max_tokens=16)
    windows = [([f"{'tea ' * (row % 9)}{row}" for row in range(count)], np.arange(count)) for count in (60, 45)]
    found = training_batches(
        iter(windows),
        encoder,
        tokens_per_batch=64,
        num_rows=105,
        rng=np.random.default_rng(0),
        agree=lambda count: max(count, agreed),
    )
    batches = list(found)
    assert sorted(np.concatenate([batch.label_ids.numpy() for batch in batches])) == sorted([*range(60), *range(45)])
    assert [batch.done for batch in batches] == sorted(batch.done for batch in batches)
    assert batches[-1].done == 1
    if agreed:
        assert len(batches) == 2 * agreed


def test_two_seeds_give_two_orders_and_one_seed_one(tiny_encoder: Path) -> None:
    encoder = load_encoder(tiny_encoder / "tokenizer.json", max_tokens=16)

    def order(seed: int) -> list[int]:
        window = ([f"tea {row}" for row in range(50)], np.arange(50))
        rng = np.random.default_rng(seed)
        batches = training_batches(
            iter([window]), encoder, tokens_per_batch=32, num_rows=50, rng=rng, agree=lambda count: count
        )
        return np.concatenate([batch.label_ids.numpy() for batch in batches]).tolist()

    assert order(1) == order(1) != order(2)


def test_batches_are_cut_until_there_are_as_many_as_asked_for() -> None:
    batches = split_to([np.arange(5), np.arange(5, 7)], 6)
    assert len(batches) == 6
    assert sorted(np.concatenate(batches)) == list(range(7))


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    config = TrainConfig(prepared="p", model="m", output="o", learning_rate=1.0, warmup_share=0.1)
    assert [round(learning_rate_at(done, config), 3) for done in (0, 0.05, 0.1, 0.55, 1)] == [0, 0.5, 1, 0.5, 0]

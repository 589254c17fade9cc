"""Batches hold every row once, within their budget of tokens."""

import numpy as np
import pytest

from sentiment_ray.text.batching import equal_length_batches, length_sorted_batches, pad, round_up_lengths


def test_rows_are_padded_to_the_longest_of_their_batch() -> None:
    input_ids, attention_mask = pad([np.array([5, 6]), np.array([7, 8, 9])], pad_id=1)
    assert input_ids.tolist() == [[5, 6, 1], [7, 8, 9]]
    assert attention_mask.tolist() == [[1, 1, 0], [1, 1, 1]]


def test_lengths_are_rounded_up_by_a_few_percent_and_never_beyond_max_tokens() -> None:
    lengths = np.arange(1, 251, dtype=np.int32)
    rounded = round_up_lengths(lengths, max_tokens=250)
    assert (rounded >= lengths).all()
    assert rounded[-1] == 250
    assert ((rounded - lengths) / lengths).mean() < 0.02
    assert len(set(rounded.tolist())) < 110
    for length in (1, 47, 49, 100, 200):
        assert round_up_lengths(np.array([length], dtype=np.int32), max_tokens=250) == rounded[length - 1]


@pytest.mark.parametrize("budget", [1, 7, 64, 100_000])
def test_length_sorted_batches_hold_every_row_once_within_the_budget(budget: int) -> None:
    lengths = np.random.default_rng(0).integers(2, 40, size=500).astype(np.int32)
    batches = list(length_sorted_batches(lengths, tokens_per_batch=budget))
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget


@pytest.mark.parametrize("budget", [1, 7, 64, 100_000])
def test_equal_length_batches_hold_every_row_once_within_the_budget(budget: int) -> None:
    lengths = np.random.default_rng(0).integers(2, 40, size=500).astype(np.int32)
    batches = list(equal_length_batches(lengths, tokens_per_batch=budget))
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    for batch in batches:
        assert len(set(lengths[batch])) == 1
        assert len(batch) == 1 or len(batch) * lengths[batch[0]] <= budget
    assert list(equal_length_batches(np.zeros(0, np.int32), tokens_per_batch=budget)) == []


@pytest.mark.parametrize("budget", [1, 64, 1000])
def test_length_sorted_batches_count_all_rows_of_a_text(budget: int) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 40, size=300).astype(np.int32)
    num_rows = np.where(lengths == 39, rng.integers(1, 9, size=300), 1)
    batches = list(length_sorted_batches(lengths, tokens_per_batch=budget, num_rows=num_rows))
    assert sorted(np.concatenate(batches).tolist()) == list(range(300))
    for batch in batches:
        assert len(batch) == 1 or num_rows[batch].sum() * lengths[batch].max() <= budget

"""Batches hold every row once, within their budget of tokens."""

import numpy as np
import pytest

from sentiment_ray.engine_specs import CPU_BATCHING, CUDA_BATCHING
from sentiment_ray.text.batching import (
    LENGTH_STEP,
    SHORT_LIMIT,
    SHORT_STEP,
    equal_length_batches,
    length_sorted_batches,
    make_batches,
    pad,
    pad_lengths,
    round_up_lengths,
)


def test_rows_are_padded_to_the_longest_of_their_batch() -> None:
    input_ids, attention_mask = pad([np.array([5, 6]), np.array([7, 8, 9])], pad_id=1)
    assert input_ids.tolist() == [[5, 6, 1], [7, 8, 9]]
    assert attention_mask.tolist() == [[1, 1, 0], [1, 1, 1]]


def test_lengths_are_rounded_up_by_less_than_a_step_and_never_beyond_max_tokens() -> None:
    lengths = np.arange(1, 251, dtype=np.int32)
    rounded = round_up_lengths(lengths, max_tokens=250)
    assert (rounded >= lengths).all()
    assert rounded[-1] == 250
    assert (rounded - lengths)[: SHORT_LIMIT - 1].max() == SHORT_STEP - 1
    assert (rounded - lengths).max() == LENGTH_STEP - 1
    assert set(rounded.tolist()) == {
        *range(SHORT_STEP, SHORT_LIMIT, SHORT_STEP), *range(SHORT_LIMIT, 250, LENGTH_STEP), 250,
    }  # fmt: skip
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


@pytest.mark.parametrize("budget", [1, 64, 2048])
def test_batches_for_a_cpu_have_rows_of_one_rounded_length_and_no_empty_rows(budget: int) -> None:
    lengths = np.random.default_rng(0).integers(2, 300, size=500).astype(np.int32)
    rounded = round_up_lengths(lengths, max_tokens=290)
    batches = list(make_batches(lengths, CPU_BATCHING, max_tokens=290, tokens_per_batch=budget))
    expected = list(equal_length_batches(rounded, tokens_per_batch=budget))
    assert [batch.rows.tolist() for batch in batches] == [rows.tolist() for rows in expected]
    assert [batch.length for batch in batches] == [rounded[rows[0]] for rows in expected]
    assert all(batch.num_rows == len(batch.rows) for batch in batches)


@pytest.mark.parametrize("budget", [1, 700, 4096, 32_768])
@pytest.mark.parametrize("max_tokens", [30, 250, 512, 1000])
def test_batches_for_a_gpu_have_few_shapes(budget: int, max_tokens: int) -> None:
    lengths = np.random.default_rng(budget).integers(2, max_tokens + 1, size=3000).astype(np.int32)
    batches = list(make_batches(lengths, CUDA_BATCHING, max_tokens=max_tokens, tokens_per_batch=budget))
    assert sorted(np.concatenate([batch.rows for batch in batches]).tolist()) == list(range(3000))
    for batch in batches:
        assert batch.length >= lengths[batch.rows].max()
        assert batch.length in CUDA_BATCHING.lengths or batch.length == max_tokens or batch.length % 128 == 0
        assert batch.num_rows in CUDA_BATCHING.row_counts
        assert len(batch.rows) <= batch.num_rows
        assert batch.num_rows == 1 or batch.num_rows * batch.length <= budget
    again = make_batches(lengths, CUDA_BATCHING, max_tokens=max_tokens, tokens_per_batch=budget)
    assert [batch.rows.tolist() for batch in again] == [batch.rows.tolist() for batch in batches]


def test_a_padded_length_follows_from_the_length_of_the_row_alone() -> None:
    lengths = np.arange(1, 513, dtype=np.int32)
    padded = pad_lengths(lengths, CUDA_BATCHING, max_tokens=512)
    alone = [pad_lengths(lengths[index : index + 1], CUDA_BATCHING, max_tokens=512)[0] for index in range(512)]
    assert padded.tolist() == alone
    assert (padded >= lengths).all() and len(set(alone)) == len(CUDA_BATCHING.lengths)
    from_32 = padded[31:] / lengths[31:]
    assert from_32.max() <= 1.25 and from_32.mean() < 1.1


def test_empty_rows_have_a_token_that_attention_may_see() -> None:
    input_ids, attention_mask = pad([np.array([5, 6]), np.array([7])], pad_id=1, length=3, num_rows=4)
    assert input_ids.tolist() == [[5, 6, 1], [7, 1, 1], [1, 1, 1], [1, 1, 1]]
    assert attention_mask.tolist() == [[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("budget", [1, 64, 1000])
def test_length_sorted_batches_count_all_rows_of_a_text(budget: int) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 40, size=300).astype(np.int32)
    num_rows = np.where(lengths == 39, rng.integers(1, 9, size=300), 1)
    batches = list(length_sorted_batches(lengths, tokens_per_batch=budget, num_rows=num_rows))
    assert sorted(np.concatenate(batches).tolist()) == list(range(300))
    for batch in batches:
        assert len(batch) == 1 or num_rows[batch].sum() * lengths[batch].max() <= budget

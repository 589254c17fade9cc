"""Training batches hold every row once, are equally many on all workers, and continue within an epoch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from numpy.typing import NDArray

from sentiment_ray.text.encoding import TextEncoder, load_encoder
from sentiment_ray.text.truncation import TokenWindows
from sentiment_ray.train.batches import NO_LABEL, Batch, Chunk, halve_until, select_own_chunks, training_batches


@pytest.fixture(scope="module")
def encoder(tiny_encoder: Path) -> TextEncoder:
    return load_encoder(tiny_encoder / "tokenizer.json", max_tokens=16)


def _batches(encoder: TextEncoder, rows: tuple[int, ...], **changes: Any) -> list[Batch]:
    """Return the batches of one worker whose chunks have the numbers of rows in `rows`."""
    chunks = [Chunk([f"{'tea ' * (row % 9)}{row}" for row in range(count)], np.arange(count)) for count in rows]
    settings: dict[str, Any] = {
        "num_chunks": len(rows),
        "tokens_per_batch": 64,
        "seed": (0, 0, 0),
        "after": 0.0,
        "max_over_workers": lambda counts: counts,
        "sum_over_workers": lambda counts: counts,
    }
    return list(training_batches(iter(chunks), encoder, **settings | changes))


def _rows(batches: list[Batch]) -> list[int]:
    label_ids = np.concatenate([batch.label_ids.numpy() for batch in batches])
    return sorted(label_ids[label_ids != NO_LABEL].tolist())


@pytest.mark.parametrize("agreed", [0, 40, 70])
def test_every_row_of_every_chunk_is_in_one_batch_and_there_are_as_many_batches_as_agreed(
    encoder: TextEncoder, agreed: int
) -> None:
    batches = _batches(encoder, (60, 45), max_over_workers=lambda counts: np.maximum(counts, agreed))
    assert _rows(batches) == sorted([*range(60), *range(45)])
    assert [batch.done for batch in batches] == sorted(batch.done for batch in batches)
    assert batches[-1].done == 1
    assert sum(batch.num_texts for batch in batches) == 105
    assert sum(batch.num_tokens for batch in batches) == sum(
        int(batch.attention_mask[batch.label_ids != NO_LABEL].sum()) for batch in batches
    )
    if agreed:
        assert len(batches) == 2 * agreed


def test_the_windows_of_a_text_stay_together_and_share_its_label(tiny_encoder: Path) -> None:
    windows = TokenWindows(pooling="mean", overlap=0.0, max_windows=8)
    encoder = load_encoder(tiny_encoder / "tokenizer.json", max_tokens=4, truncation=windows)
    texts = ["tea", "tea " * 11, "tea " * 4, "tea " * 7]
    (batch,) = training_batches(
        iter([Chunk(texts, np.arange(4))]), encoder, num_chunks=1, tokens_per_batch=1000, seed=(0,), after=0.0,
        max_over_workers=lambda counts: counts, sum_over_workers=lambda counts: counts,
    )  # fmt: skip
    assert batch.num_texts == 4
    assert sorted(batch.label_ids.tolist()) == [0, 1, 2, 3]
    num_rows = np.bincount(batch.owners.numpy())
    assert dict(zip(batch.label_ids.tolist(), num_rows.tolist(), strict=True)) == {0: 1, 1: 3, 2: 1, 3: 2}


def test_a_worker_without_rows_takes_as_many_steps_as_the_others(encoder: TextEncoder) -> None:
    batches = _batches(encoder, (), num_chunks=1, max_over_workers=lambda counts: np.array([3]))
    assert len(batches) == 3
    assert _rows(batches) == []


@pytest.mark.parametrize("most", [1, 7, 8, 200])
def test_a_batch_has_at_most_the_rows_and_the_tokens_that_are_allowed(encoder: TextEncoder, most: int) -> None:
    batches = _batches(encoder, (60, 45), rows_per_batch=most)
    assert _rows(batches) == sorted([*range(60), *range(45)])
    assert max(batch.num_texts for batch in batches) <= most
    assert max(batch.input_ids.numel() for batch in batches) <= 64
    assert {batch.per_epoch for batch in batches} >= {2 * sum(batch.done <= 0.5 for batch in batches)}


def test_the_rows_of_a_batch_with_few_rows_change_from_epoch_to_epoch(encoder: TextEncoder) -> None:
    epochs = [_batches(encoder, (60,), rows_per_batch=4, seed=(0, epoch, 0)) for epoch in range(2)]
    first, second = ({frozenset(batch.label_ids.tolist()) for batch in batches} for batches in epochs)
    assert not first & second


def test_the_order_depends_on_the_seed_alone(encoder: TextEncoder) -> None:
    def order(seed: int) -> list[list[int]]:
        return [batch.label_ids.tolist() for batch in _batches(encoder, (50,), seed=(seed, 0, 0))]

    assert order(1) == order(1) != order(2)


def test_a_training_that_resumes_within_an_epoch_gets_the_remaining_batches(encoder: TextEncoder) -> None:
    whole = _batches(encoder, (60, 45, 3))
    for index, batch in enumerate(whole):
        rest = _batches(encoder, (60, 45, 3), after=batch.done)
        assert [other.input_ids.tolist() for other in rest] == [
            other.input_ids.tolist() for other in whole[index + 1 :]
        ]


@given(rows=some.lists(some.integers(0, 9), max_size=6), more=some.integers(0, 20))
def test_batches_are_halved_until_there_are_as_many_as_asked_for(rows: list[int], more: int) -> None:
    ends = np.cumsum(rows, dtype=np.int64)
    batches: list[NDArray[np.intp]] = [np.arange(end - count, end) for end, count in zip(ends, rows, strict=True)]
    halved = halve_until(batches, len(batches) + more)
    assert len(halved) == max(len(batches) + more, 1)
    assert sorted(np.concatenate(halved).tolist()) == list(range(sum(rows)))


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_each_chunk_is_evaluated_by_one_worker(world_size: int) -> None:
    chunks = [Chunk([f"{index}"], np.array([index])) for index in range(7)]
    selected = [
        chunk.texts[0]
        for rank in range(world_size)
        for chunk in select_own_chunks(iter(chunks), rank=rank, world_size=world_size)
    ]
    assert sorted(selected) == [str(index) for index in range(7)]

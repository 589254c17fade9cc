"""Rows of token ids in batches under a token budget; knows lengths and arrays alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.engine_specs import Batching

LONG_STEP = 128
"""Rows that are longer than an engine's longest length are padded to multiples of this."""
SHORT_STEP, LENGTH_STEP, SHORT_LIMIT = 4, 8, 96
"""Rows below the limit are padded to multiples of the first, longer ones to multiples of the second, where an engine
has no lengths of its own."""
PADDED_LENGTHS = f"multiples of {SHORT_STEP} below {SHORT_LIMIT}, then of {LENGTH_STEP}"
"""Rows that are padded to other lengths may get scores of other bits, so a plan of scores records this."""
MAX_EMPTY_SHARE = 0.125
"""Largest share of empty rows in a batch of a service. Two batches, one of them small, take longer than a few rows."""


@dataclass(frozen=True)
class RowBatch:
    """Indices of rows that are computed together, the length that they are padded to, and the rows with empty ones."""

    rows: NDArray[np.intp]
    length: int
    num_rows: int


def pad(
    ids: Sequence[NDArray[np.int64]], *, pad_id: int, length: int | None = None, num_rows: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `input_ids` and `attention_mask`, both int64 `(batch, length)`, by default as long as the longest row.

    With `num_rows`, rows that hold one token for padding are added at the end: attention must have a token to see.
    """
    length = length or max(len(row) for row in ids)
    shape = (num_rows or len(ids), length)
    input_ids = np.full(shape, pad_id, dtype=np.int64)
    attention_mask = np.zeros(shape, dtype=np.int64)
    for index, row in enumerate(ids):
        input_ids[index, : len(row)] = row
        attention_mask[index, : len(row)] = 1
    attention_mask[len(ids) :, 0] = 1
    return input_ids, attention_mask


def pad_lengths(lengths: NDArray[np.int32], batching: Batching, *, max_tokens: int) -> NDArray[np.int32]:
    """Return the lengths to which an engine's rows are padded, int32 `(rows,)`; each follows from its row's length."""
    if not batching.lengths:
        return round_up_lengths(lengths, max_tokens=max_tokens)
    ladder = np.array(batching.lengths, dtype=np.int32)
    longest = ladder[-1]
    padded = np.where(
        lengths <= longest,
        ladder[np.minimum(np.searchsorted(ladder, lengths), len(ladder) - 1)],
        -(-lengths // LONG_STEP) * LONG_STEP,
    )
    capped: NDArray[np.int32] = np.minimum(padded, np.maximum(lengths, max_tokens)).astype(np.int32)
    return capped


def count_full_rows(length: int, batching: Batching, tokens_per_batch: int) -> int:
    """Return how many rows of a padded length a batch has when there are enough of them."""
    fitting = max(1, tokens_per_batch // max(1, length))
    return max((count for count in batching.row_counts if count <= fitting), default=fitting)


def count_padded_rows(num_rows: int, batching: Batching) -> int:
    """Return with how many rows a batch of `num_rows` rows is computed."""
    return next((count for count in batching.row_counts if count >= num_rows), num_rows)


def choose_num_rows(num_waiting: int, length: int, batching: Batching) -> tuple[int, int]:
    """Return how many of the waiting rows of one padded length make a batch, and with how many rows it is computed.

    Where empty rows would be more than MAX_EMPTY_SHARE of a batch, some rows are left for the next one.
    """
    size = min(num_waiting, count_full_rows(length, batching, batching.tokens_per_batch))
    num_rows = count_padded_rows(size, batching)
    if num_rows - size > MAX_EMPTY_SHARE * num_rows:
        size = num_rows = max(count for count in batching.row_counts if count <= size)
    return size, num_rows


def make_batches(
    lengths: NDArray[np.int32], batching: Batching, *, max_tokens: int, tokens_per_batch: int
) -> Iterator[RowBatch]:
    """Yield the rows of some lengths in batches of one padded length, longest rows first; every row comes once.

    The shapes of the batches follow from the lengths and their order alone.
    """
    padded = pad_lengths(lengths, batching, max_tokens=max_tokens)
    if not batching.row_counts:
        for rows in equal_length_batches(padded, tokens_per_batch=tokens_per_batch):
            yield RowBatch(rows, int(padded[rows[0]]), len(rows))
        return
    for group in _group_equal_lengths(padded):
        length = int(padded[group[0]])
        size = count_full_rows(length, batching, tokens_per_batch)
        for start in range(0, len(group), size):
            rows = group[start : start + size]
            yield RowBatch(rows, length, count_padded_rows(len(rows), batching))


def round_up_lengths(lengths: NDArray[np.int32], *, max_tokens: int) -> NDArray[np.int32]:
    """Return the lengths to which rows are padded, as PADDED_LENGTHS says, int32 `(rows,)`.

    A rounded length follows from the row's own length, so a row is padded alike in every batch. An engine prepares
    itself for every new length, and is slow with few rows: with few lengths the rows that wait in a service share
    batches. With fewer than these, a job computes more padding than it gains (benchmarks/results/serving.jsonl).
    """
    steps = np.where(lengths < SHORT_LIMIT, SHORT_STEP, LENGTH_STEP)
    rounded: NDArray[np.int32] = np.minimum(-(-lengths // steps) * steps, np.maximum(lengths, max_tokens))
    return rounded.astype(np.int32)


def equal_length_batches(lengths: NDArray[np.int32], *, tokens_per_batch: int) -> Iterator[NDArray[np.intp]]:
    """Yield indices of rows in batches of one length and at most `tokens_per_batch` tokens, longest rows first.

    A row that is longer than the budget is a batch of its own. Every index comes exactly once.
    """
    for group in _group_equal_lengths(lengths):
        size = max(1, tokens_per_batch // max(1, int(lengths[group[0]])))
        yield from (group[start : start + size] for start in range(0, len(group), size))


def _group_equal_lengths(lengths: NDArray[np.int32]) -> Iterator[NDArray[np.intp]]:
    """Yield the indices of the rows of each length in their order, the longest length first."""
    order = np.argsort(-lengths, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
    yield from (group for group in groups if len(group))


def length_sorted_batches(
    lengths: NDArray[np.int32], *, tokens_per_batch: int, num_rows: NDArray[np.intp] | None = None
) -> Iterator[NDArray[np.intp]]:
    """Yield indices of texts in batches of at most `tokens_per_batch` tokens with padding, shortest texts first.

    `num_rows` `(texts,)` says how many rows of its length each text has, by default one. A text that is longer than
    the budget is a batch of its own. Every index comes exactly once.
    """
    order = np.argsort(lengths, kind="stable")
    rows_until = [0, *accumulate([1] * len(order) if num_rows is None else num_rows[order].tolist())]
    start = 0
    while start < len(order):
        end = start + 1
        while (
            end < len(order)
            and (rows_until[end + 1] - rows_until[start]) * int(lengths[order[end]]) <= tokens_per_batch
        ):
            end += 1
        yield order[start:end]
        start = end

"""Rows of token ids in batches under a token budget; knows lengths and arrays alone."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

ROUNDING_LIMITS = (48, 96, 192)
"""Lengths below these are rounded up to multiples of 1, 2 and 4; longer ones to multiples of 8."""


def pad(
    ids: Sequence[NDArray[np.int64]], *, pad_id: int, length: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `input_ids` and `attention_mask`, both int64 `(batch, length)`, by default as long as the longest row."""
    length = length or max(len(row) for row in ids)
    input_ids = np.full((len(ids), length), pad_id, dtype=np.int64)
    attention_mask = np.zeros((len(ids), length), dtype=np.int64)
    for index, row in enumerate(ids):
        input_ids[index, : len(row)] = row
        attention_mask[index, : len(row)] = 1
    return input_ids, attention_mask


def round_up_lengths(lengths: NDArray[np.int32], *, max_tokens: int) -> NDArray[np.int32]:
    """Return the lengths to which rows are padded: the next multiple of 1, 2, 4 or 8, int32 `(rows,)`.

    A rounded length follows from the row's own length, so a row is padded alike in every batch. An engine prepares
    itself for every new length, and is slow with few rows. Fewer lengths are up to 1.2 times faster, and cost 1 to 2 %
    of padding (benchmarks/results/prediction.jsonl).
    """
    multiples = np.select([lengths < limit for limit in ROUNDING_LIMITS], [1, 2, 4], default=8)
    rounded: NDArray[np.int32] = np.minimum(-(-lengths // multiples) * multiples, np.maximum(lengths, max_tokens))
    return rounded.astype(np.int32)


def equal_length_batches(lengths: NDArray[np.int32], *, tokens_per_batch: int) -> Iterator[NDArray[np.intp]]:
    """Yield indices of rows in batches of one length and at most `tokens_per_batch` tokens, longest rows first.

    A row that is longer than the budget is a batch of its own. Every index comes exactly once.
    """
    order = np.argsort(-lengths, kind="stable")
    ends = np.flatnonzero(np.diff(lengths[order])) + 1
    for group in np.split(order, ends):
        if len(group):
            size = max(1, tokens_per_batch // max(1, int(lengths[group[0]])))
            yield from (group[start : start + size] for start in range(0, len(group), size))


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

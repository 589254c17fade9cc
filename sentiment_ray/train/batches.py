"""Training batches: length-sorted windows under a token budget, equal in number on every worker; knows no model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sentiment_ray.encoding import Encoded, TextEncoder, encode, length_sorted_batches, pad

WINDOW_ROWS = 8192
"""Rows that are shuffled and sorted together: enough for batches of one length, few enough for any memory."""


@dataclass(frozen=True)
class Batch:
    """Rows that pass through the model together.

    `input_ids` and `attention_mask` int64 `(batch, length)`, `label_ids` int64 `(batch,)`; `done` is the share of the
    epoch that lies behind once this batch is used, the same on every worker.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    label_ids: torch.Tensor
    done: float

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return Batch(self.input_ids.to(device), self.attention_mask.to(device), self.label_ids.to(device), self.done)


def training_batches(
    windows: Iterator[tuple[list[str], NDArray[np.int64]]],
    encoder: TextEncoder,
    *,
    tokens_per_batch: int,
    num_rows: int,
    rng: np.random.Generator,
    agree: Callable[[int], int],
) -> Iterator[Batch]:
    """Yield the batches of an epoch from windows of texts and label ids.

    Every worker gets windows of the same sizes; `agree` takes this worker's number of batches for a window and returns
    the largest of all workers, and each cuts its window into exactly that many. So all take the same number of steps
    and none waits for another for ever. `num_rows` is this worker's share of the training split.
    """
    rows_done = 0
    for texts, label_ids in windows:
        encoded = encode(encoder, texts)
        shuffled = rng.permutation(len(texts))
        batches = [
            shuffled[batch]
            for batch in length_sorted_batches(encoded.lengths[shuffled], tokens_per_batch=tokens_per_batch)
        ]
        batches = split_to(batches, agree(len(batches)))
        for step, index in enumerate(rng.permutation(len(batches)), start=1):
            done = (rows_done + len(texts) * step / len(batches)) / num_rows
            yield _batch(encoded, label_ids, batches[index], pad_id=encoder.pad_id, done=min(done, 1.0))
        rows_done += len(texts)


def evaluation_batches(
    texts: list[str], label_ids: NDArray[np.int64], encoder: TextEncoder, *, tokens_per_batch: int
) -> Iterator[Batch]:
    """Yield every row once, in length-sorted batches."""
    encoded = encode(encoder, texts)
    for batch in length_sorted_batches(encoded.lengths, tokens_per_batch=tokens_per_batch):
        yield _batch(encoded, label_ids, batch, pad_id=encoder.pad_id, done=1.0)


def _batch(
    encoded: Encoded, label_ids: NDArray[np.int64], rows: NDArray[np.intp], *, pad_id: int, done: float
) -> Batch:
    input_ids, attention_mask = pad([encoded.ids[row] for row in rows], pad_id=pad_id)
    return Batch(torch.from_numpy(input_ids), torch.from_numpy(attention_mask), torch.from_numpy(label_ids[rows]), done)


def split_to(batches: list[NDArray[np.intp]], count: int) -> list[NDArray[np.intp]]:
    """Cut the largest batches in two until there are `count` of them; every row stays in exactly one."""
    batches = list(batches)
    while len(batches) < count:
        largest = max(range(len(batches)), key=lambda index: len(batches[index]))
        rows = batches[largest]
        batches[largest : largest + 1] = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    return batches

"""Training batches: length-sorted windows under a token budget, as many on every worker; knows no model and no Ray."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from sentiment_ray.text.encoding import Encoded, TextEncoder, encode, length_sorted_batches, pad, rows_of

WINDOW_ROWS = 8192
"""Rows that are shuffled and sorted together, at most: enough for batches of one length, few enough for any memory."""
BLOCK_ROWS = 128
"""Rows that one worker evaluates together, whichever it is, so that no answer depends on how many workers there are."""
NO_LABEL = -100
"""The label id of a row that counts for nothing."""


@dataclass(frozen=True)
class Window:
    """Rows that are shuffled, or evaluated, together.

    `label_ids` int64 `(rows,)`, NO_LABEL where a row has none. `teacher`, if there is one, is float32 `(rows, labels)`:
    the probabilities that a larger model gave, all 0 for a row that it was not asked about.
    """

    texts: list[str]
    label_ids: NDArray[np.int64]
    teacher: NDArray[np.float32] | None = None


NOTHING = Window([], np.zeros(0, dtype=np.int64))
Collect = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Takes this worker's int64 array and returns something that all workers' arrays of that shape make."""


@dataclass(frozen=True)
class Batch:
    """Texts that pass through the model together, each as one row of tokens or, where windows are read, several.

    `input_ids` and `attention_mask` int64 `(rows, length)`, `owners` int64 `(rows,)`: the text of each row. `label_ids`
    int64 `(texts,)`, `teacher` float32 `(texts, labels)` or None; a worker that has no text left for a step gets one
    without a label. `num_rows` and `num_tokens` (real ones) are the texts and tokens of all workers' batches of the
    step. `done` is the share of the epoch that lies behind once the step is taken, the same on every worker.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    owners: torch.Tensor
    label_ids: torch.Tensor
    teacher: torch.Tensor | None
    num_rows: int
    num_tokens: int
    done: float

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; a copy to a GPU goes on while the CPU prepares the next."""
        if device.type == "cpu":
            return self
        return replace(
            self,
            input_ids=_sent(self.input_ids, device),
            attention_mask=_sent(self.attention_mask, device),
            owners=_sent(self.owners, device),
            label_ids=_sent(self.label_ids, device),
            teacher=None if self.teacher is None else _sent(self.teacher, device),
        )


def training_batches(
    windows: Iterator[Window],
    encoder: TextEncoder,
    *,
    num_windows: int,
    tokens_per_batch: int,
    seed: tuple[int, ...],
    after: float,
    largest: Collect,
    total: Collect,
) -> Iterator[Batch]:
    """Yield the batches of an epoch, but for those that lie within its first share `after`.

    Every worker has `num_windows` windows, some perhaps empty, and cuts each into as many batches as the worker with
    the most (`largest`, `total`: over all workers), so none waits for another for ever. The order is a function of
    `seed` and the place in the epoch alone: who goes on in the middle gets the batches that were to come.
    """
    for window in range(num_windows):
        rows = next(windows, NOTHING)
        if (window + 1) / num_windows <= after:
            continue
        rng = np.random.default_rng([*seed, window])
        encoded = encode(encoder, rows.texts)
        shuffled = rng.permutation(len(rows.texts))
        batches = [shuffled[batch] for batch in _batches_of(encoded, shuffled, encoder.max_tokens, tokens_per_batch)]
        count = int(largest(np.array([len(batches)]))[0])
        batches = split_to(batches, count)
        batches = [batches[place] for place in rng.permutation(count)]
        sizes = total(np.array([[len(batch), encoded.tokens[batch].sum()] for batch in batches], dtype=np.int64))
        for step, (batch, (num_rows, num_tokens)) in enumerate(zip(batches, sizes.tolist(), strict=True), start=1):
            done = (window + step / count) / num_windows
            if done > after:
                yield _batch(encoded, rows, batch, encoder.pad_id, num_rows, num_tokens, done)


def evaluation_batches(window: Window, encoder: TextEncoder, *, tokens_per_batch: int) -> Iterator[Batch]:
    """Yield every row of a window once, in length-sorted batches; `num_rows` and `num_tokens` are each batch's own."""
    encoded = encode(encoder, window.texts)
    for batch in _batches_of(encoded, np.arange(len(window.texts)), encoder.max_tokens, tokens_per_batch):
        num_tokens = int(encoded.tokens[batch].sum())
        yield _batch(encoded, window, batch, encoder.pad_id, len(batch), num_tokens, done=1.0)


def blocks_of(blocks: Iterator[Window], *, rank: int, world_size: int) -> Iterator[Window]:
    """Yield the blocks that fall to a worker, of those that hold every row, BLOCK_ROWS each but the last."""
    for number, block in enumerate(blocks):
        if number % world_size == rank:
            yield block


def split_to(batches: list[NDArray[np.intp]], count: int) -> list[NDArray[np.intp]]:
    """Cut the largest batches in two until there are `count`; every row stays in exactly one, some may have none."""
    batches = list(batches) or [np.zeros(0, dtype=np.intp)]
    while len(batches) < count:
        largest = max(range(len(batches)), key=lambda index: len(batches[index]))
        rows = batches[largest]
        batches[largest : largest + 1] = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    return batches


def _batches_of(
    encoded: Encoded, order: NDArray[np.intp], max_tokens: int, tokens_per_batch: int
) -> Iterator[NDArray[np.intp]]:
    """Yield places in `order`, an order of texts, in length-sorted batches; a text's rows stay together."""
    lengths = np.minimum(encoded.tokens, max_tokens)
    num_rows = np.bincount(encoded.texts, minlength=len(order))
    return length_sorted_batches(lengths[order], num_rows=num_rows[order], tokens_per_batch=tokens_per_batch)


def _batch(
    encoded: Encoded,
    window: Window,
    texts: NDArray[np.intp],
    pad_id: int,
    num_rows: int,
    num_tokens: int,
    done: float,
) -> Batch:
    """Return a batch of some texts; of none, one that a model takes and a loss ignores: all workers step together."""
    if len(texts):
        rows = rows_of(encoded, texts)
        input_ids, attention_mask = pad([encoded.ids[row] for row in rows], pad_id=pad_id)
        starts = np.flatnonzero(np.diff(encoded.texts[rows], prepend=-1))
        owners = np.repeat(np.arange(len(texts)), np.diff(starts, append=len(rows)))
        label_ids = window.label_ids[texts]
    else:
        input_ids, attention_mask = np.full((1, 2), pad_id), np.ones((1, 2), dtype=np.int64)
        owners, label_ids = np.array([0]), np.array([NO_LABEL])
    teacher = window.teacher[texts] if window.teacher is not None and len(texts) else None
    return Batch(
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(attention_mask),
        owners=torch.from_numpy(owners),
        label_ids=torch.from_numpy(label_ids),
        teacher=None if teacher is None else torch.from_numpy(teacher),
        num_rows=num_rows,
        num_tokens=num_tokens,
        done=done,
    )


def _sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    return tensor.pin_memory().to(device, non_blocking=True)

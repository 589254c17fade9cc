"""Cuts chunks of rows into training batches under a token budget; knows no model and no Ray.

`_split_into_batches` applies the batch budget (`tokens_per_batch`). Every worker gets the same number of batches.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from sentiment_ray.text.batching import length_sorted_batches, pad
from sentiment_ray.text.encoding import Encoded, TextEncoder, encode, select_rows
from sentiment_ray.train.ahead import compute_ahead
from sentiment_ray.train.device import copy_together

EVALUATION_CHUNK_ROWS = 128
"""Rows that one worker evaluates together. The number is fixed, so results do not depend on the number of workers."""
NO_LABEL = -100
"""The label id of a row without a label; the loss ignores it."""


@dataclass(frozen=True)
class Chunk:
    """Rows that are shuffled, or evaluated, together.

    `label_ids` is int64 `(rows,)`, NO_LABEL for a row without a label. `teacher` is None or float32 `(rows, labels)`:
    the probabilities that a larger model gave, all 0 for a row that it did not score.
    """

    texts: list[str]
    label_ids: NDArray[np.int64]
    teacher: NDArray[np.float32] | None = None


EMPTY_CHUNK = Chunk([], np.zeros(0, dtype=np.int64))
AllReduce = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Combines this worker's int64 array with the arrays of the same shape of all other workers."""


@dataclass(frozen=True)
class Batch:
    """Texts that pass through the model together: one row of tokens each, or several when windows are read.

    `input_ids` and `attention_mask` are int64 `(rows, length)`. `owners` is int64 `(rows,)`: the index of the text that
    a row belongs to. `label_ids` is int64 `(texts,)`, `teacher` float32 `(texts, labels)` or None. A worker that has no
    text left for a step gets a batch of one row without a label.

    `num_texts` and `num_tokens` (padding excluded) are totals over the batches of all workers in the step. `done` is
    the share of the epoch that is over after the step, and `per_epoch` the number of batches in the epoch if every
    chunk has as many as this one; both are the same on every worker.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    owners: torch.Tensor
    label_ids: torch.Tensor
    teacher: torch.Tensor | None
    num_texts: int
    num_tokens: int
    done: float
    per_epoch: int

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; the copy to a GPU runs while the CPU prepares the next batch."""
        if device.type == "cpu":
            return self
        input_ids, attention_mask, owners, label_ids = copy_together(
            [self.input_ids, self.attention_mask, self.owners, self.label_ids], device
        )
        return replace(
            self,
            input_ids=input_ids,
            attention_mask=attention_mask,
            owners=owners,
            label_ids=label_ids,
            teacher=None if self.teacher is None else copy_together([self.teacher], device)[0],
        )


@dataclass(frozen=True)
class _CutChunk:
    """A chunk that was encoded and cut into batches; each batch is the indices of its texts, int `(texts,)`.

    `index` is the chunk's place in the epoch. `rng` draws the order of the batches.
    """

    index: int
    chunk: Chunk
    encoded: Encoded
    batches: list[NDArray[np.intp]]
    rng: np.random.Generator


def training_batches(
    chunks: Iterator[Chunk],
    encoder: TextEncoder,
    *,
    num_chunks: int,
    tokens_per_batch: int,
    rows_per_batch: int | None = None,
    seed: tuple[int, ...],
    after: float,
    max_over_workers: AllReduce,
    sum_over_workers: AllReduce,
) -> Generator[Batch]:
    """Return the batches of an epoch, without those in its first share `after`.

    Every worker has `num_chunks` chunks, some of them perhaps empty. Each chunk is cut into as many batches as the
    worker with the most batches has, so no worker waits for a step that another does not take. The order depends only
    on `seed` and the position in the epoch: a training that resumes gets the batches that were still to come.

    With `rows_per_batch` a batch also has at most so many texts. They are drawn without regard to their length: of few
    texts, sorting would put the same ones together in every epoch.

    A chunk is encoded and cut in a thread while the batches of the one before it are used; the first one at once. What
    the workers agree on, they agree on in the thread of the caller.
    """
    cut_chunks = _cut_chunks(
        chunks,
        encoder,
        num_chunks=num_chunks,
        tokens_per_batch=tokens_per_batch,
        rows_per_batch=rows_per_batch,
        seed=seed,
        after=after,
    )
    return _build_batches(
        compute_ahead(cut_chunks),
        encoder.pad_id,
        num_chunks=num_chunks,
        after=after,
        max_over_workers=max_over_workers,
        sum_over_workers=sum_over_workers,
    )


def _cut_chunks(
    chunks: Iterator[Chunk],
    encoder: TextEncoder,
    *,
    num_chunks: int,
    tokens_per_batch: int,
    rows_per_batch: int | None,
    seed: tuple[int, ...],
    after: float,
) -> Iterator[_CutChunk]:
    """Encode and cut the chunks of an epoch, without those that lie in its first share `after` as a whole."""
    for index in range(num_chunks):
        chunk = next(chunks, EMPTY_CHUNK)
        if (index + 1) / num_chunks <= after:
            continue
        rng = np.random.default_rng([*seed, index])
        encoded = encode(encoder, chunk.texts)
        shuffled = rng.permutation(len(chunk.texts))
        num_groups = -(-len(shuffled) // rows_per_batch) if rows_per_batch else 1
        batches = [
            group[batch]
            for group in np.array_split(shuffled, max(num_groups, 1))
            for batch in _split_into_batches(encoded, group, encoder, tokens_per_batch)
        ]
        yield _CutChunk(index, chunk, encoded, batches, rng)


def _build_batches(
    cut_chunks: Iterator[_CutChunk],
    pad_id: int,
    *,
    num_chunks: int,
    after: float,
    max_over_workers: AllReduce,
    sum_over_workers: AllReduce,
) -> Generator[Batch]:
    """Yield the batches of cut chunks after the share `after`: of each chunk equally many on every worker, shuffled."""
    for cut in cut_chunks:
        num_batches = int(max_over_workers(np.array([len(cut.batches)]))[0])
        batches = halve_until(cut.batches, num_batches)
        batches = [batches[index] for index in cut.rng.permutation(num_batches)]
        sizes = [[len(batch), cut.encoded.num_tokens[batch].sum()] for batch in batches]
        totals = sum_over_workers(np.array(sizes, dtype=np.int64)).tolist()
        for number, (texts, (num_texts, num_tokens)) in enumerate(zip(batches, totals, strict=True), start=1):
            done = (cut.index + number / num_batches) / num_chunks
            if done > after:
                position = done, num_batches * num_chunks
                yield _build_batch(cut.encoded, cut.chunk, texts, pad_id, (num_texts, num_tokens), position)


def evaluation_batches(chunk: Chunk, encoder: TextEncoder, *, tokens_per_batch: int) -> Iterator[Batch]:
    """Yield every row of a chunk once, in length-sorted batches; the totals of a batch count that batch alone."""
    encoded = encode(encoder, chunk.texts)
    for texts in _split_into_batches(encoded, np.arange(len(chunk.texts)), encoder, tokens_per_batch):
        totals = len(texts), int(encoded.num_tokens[texts].sum())
        yield _build_batch(encoded, chunk, texts, encoder.pad_id, totals)


def divide_batch(batch: Batch, num_parts: int) -> list[Batch]:
    """Return a batch in parts of about equally many texts, at most `num_parts`; the rows of a text stay together."""
    num_texts = len(batch.label_ids)
    num_parts = min(num_parts, num_texts)
    if num_parts == 1:
        return [batch]
    parts = []
    for start, end in pairwise(num_texts * number // num_parts for number in range(num_parts + 1)):
        is_chosen = (batch.owners >= start) & (batch.owners < end)
        part = replace(
            batch,
            input_ids=batch.input_ids[is_chosen],
            attention_mask=batch.attention_mask[is_chosen],
            owners=batch.owners[is_chosen] - start,
            label_ids=batch.label_ids[start:end],
            teacher=None if batch.teacher is None else batch.teacher[start:end],
        )
        parts.append(part)
    return parts


def select_own_chunks(chunks: Iterator[Chunk], *, rank: int, world_size: int) -> Iterator[Chunk]:
    """Yield every `world_size`-th chunk, beginning with number `rank`: those that this worker evaluates."""
    for index, chunk in enumerate(chunks):
        if index % world_size == rank:
            yield chunk


def halve_until(batches: list[NDArray[np.intp]], num_batches: int) -> list[NDArray[np.intp]]:
    """Cut the largest batch in two until there are `num_batches`; each row stays in one batch, some may be empty."""
    batches = list(batches) or [np.zeros(0, dtype=np.intp)]
    while len(batches) < num_batches:
        largest = max(range(len(batches)), key=lambda index: len(batches[index]))
        rows = batches[largest]
        batches[largest : largest + 1] = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    return batches


def _split_into_batches(
    encoded: Encoded, order: NDArray[np.intp], encoder: TextEncoder, tokens_per_batch: int
) -> Iterator[NDArray[np.intp]]:
    """Yield length-sorted batches as indices into `order`, an order of texts; all rows of a text stay together.

    Padded rows count: a batch has at most `tokens_per_batch` tokens, or a single text.
    """
    lengths = np.minimum(encoded.num_tokens, encoder.max_tokens)
    num_rows = np.bincount(encoded.text_indices, minlength=len(order))
    return length_sorted_batches(lengths[order], num_rows=num_rows[order], tokens_per_batch=tokens_per_batch)


def _build_batch(
    encoded: Encoded,
    chunk: Chunk,
    texts: NDArray[np.intp],
    pad_id: int,
    totals: tuple[int, int],
    position: tuple[float, int] = (1.0, 1),
) -> Batch:
    """Return the batch of some texts of a chunk; `position` holds `done` and `per_epoch`.

    Without texts it has one row that a model accepts and the loss ignores, because all workers step together.
    """
    if len(texts):
        rows = select_rows(encoded, texts)
        input_ids, attention_mask = pad([encoded.ids[row] for row in rows], pad_id=pad_id)
        starts = np.flatnonzero(np.diff(encoded.text_indices[rows], prepend=-1))
        owners = np.repeat(np.arange(len(texts)), np.diff(starts, append=len(rows)))
        label_ids = chunk.label_ids[texts]
    else:
        input_ids, attention_mask = np.full((1, 2), pad_id), np.ones((1, 2), dtype=np.int64)
        owners, label_ids = np.array([0]), np.array([NO_LABEL])
    teacher = chunk.teacher[texts] if chunk.teacher is not None and len(texts) else None
    (num_texts, num_tokens), (done, per_epoch) = totals, position
    return Batch(
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(attention_mask),
        owners=torch.from_numpy(owners),
        label_ids=torch.from_numpy(label_ids),
        teacher=None if teacher is None else torch.from_numpy(teacher),
        num_texts=num_texts,
        num_tokens=num_tokens,
        done=done,
        per_epoch=per_epoch,
    )

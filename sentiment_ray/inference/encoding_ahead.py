"""Computes logits while the next texts are turned into token ids; knows neither labels nor windows of long texts."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.engine_specs import get_batching
from sentiment_ray.inference.engines import Engine
from sentiment_ray.text.batching import count_full_rows, count_padded_rows, pad, pad_lengths
from sentiment_ray.text.encoding import Encoded, TextEncoder, encode

IndexedLogits = tuple[NDArray[np.intp], NDArray[np.float32]]
"""Indices of rows or of texts, and their logits `(indices, labels)`."""

TEXTS_AHEAD = 512
"""Texts that are encoded in one piece."""
PIECES_AHEAD = 4
"""Pieces that may be encoded before the engine has taken them."""


@dataclass(frozen=True)
class TextCounts:
    """Of each text: its int32 `tokens`, the `unknown` ones among them, and whether it was `truncated`; `(texts,)`."""

    tokens: NDArray[np.int32]
    unknown: NDArray[np.int32]
    truncated: NDArray[np.bool_]

    @classmethod
    def of_none(cls, num_texts: int) -> "TextCounts":
        """Return counts that are still to be filled in."""
        none = np.zeros(num_texts, dtype=np.int32)
        return cls(none, none.copy(), none.astype(np.bool_))


def compute_logits(
    engine: Engine, encoder: TextEncoder, ids: Sequence[NDArray[np.int64]], *, length: int, num_rows: int
) -> NDArray[np.float32]:
    """Return the logits `(rows, labels)` of rows that are padded to one length and computed among empty rows."""
    return engine.logits(*pad(ids, pad_id=encoder.pad_id, length=length, num_rows=num_rows))[: len(ids)]


def compute_logits_ahead(
    engine: Engine, encoder: TextEncoder, texts: Sequence[str], counts: TextCounts, *, tokens_per_batch: int
) -> Iterator[IndexedLogits]:
    """Yield the indices and the logits of texts that are one row each, and fill `counts` in for them.

    A thread encodes the next texts meanwhile. Rows of one padded length wait until their batch is full; what is left at
    the end is computed longest first. So the batches follow from the texts and their order, never from time.
    """
    batching = get_batching(engine.name)
    waiting: dict[int, deque[tuple[int, NDArray[np.int64]]]] = {}

    def compute(length: int, size: int) -> IndexedLogits:
        rows = [waiting[length].popleft() for _ in range(size)]
        num_rows = count_padded_rows(size, batching)
        logits = compute_logits(engine, encoder, [ids for _, ids in rows], length=length, num_rows=num_rows)
        return np.array([index for index, _ in rows], dtype=np.intp), logits

    for start, encoded in _encode_ahead(encoder, texts):
        piece = slice(start, start + len(encoded.num_tokens))
        counts.tokens[piece], counts.unknown[piece] = encoded.num_tokens, encoded.num_unknown
        counts.truncated[piece] = encoded.truncated
        lengths = pad_lengths(encoded.lengths, batching, max_tokens=encoder.max_tokens).tolist()
        for index, (length, ids) in enumerate(zip(lengths, encoded.ids, strict=True), start):
            waiting.setdefault(length, deque()).append((index, ids))
        for length in sorted(set(lengths), reverse=True):
            size = count_full_rows(length, batching, tokens_per_batch)
            while len(waiting[length]) >= size:
                yield compute(length, size)
    for length in sorted(waiting, reverse=True):
        if waiting[length]:
            yield compute(length, len(waiting[length]))


def _encode_ahead(encoder: TextEncoder, texts: Sequence[str]) -> Iterator[tuple[int, Encoded]]:
    """Yield pieces of texts as rows of token ids, each with the index of its first text."""
    starts = deque(range(0, len(texts), TEXTS_AHEAD))
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoding") as executor:
        pending = deque[tuple[int, Future[Encoded]]]()
        while starts or pending:
            while starts and len(pending) < PIECES_AHEAD:
                start = starts.popleft()
                pending.append((start, executor.submit(encode, encoder, texts[start : start + TEXTS_AHEAD])))
            start, future = pending.popleft()
            yield start, future.result()

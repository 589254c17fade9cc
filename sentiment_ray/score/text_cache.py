"""Caches the scores of texts for all workers of a run; holds digests and bytes, no texts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from sentiment_ray.inference.scoring import Scores

DIGEST_BYTES = 16
WAYS = 8
"""Slots of a set: when as many texts as half of all slots are cached, 2 % of the texts find their set full."""

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Indices = NDArray[np.int64]


class TextCache:
    """A set-associative cache from the digest of a text to a row of bytes, in a fixed amount of memory.

    A digest selects a set of WAYS slots. In a full set a new text replaces the oldest. A worker claims the texts that
    it is about to score, so that other workers need not score them too.
    """

    def __init__(self, max_texts: int) -> None:
        self._num_sets = max(1, max_texts // WAYS)
        self._digests = np.full((self._num_sets, WAYS, 2), 0, dtype=np.uint64)
        self._claimed = np.full((self._num_sets, WAYS), False)
        self._oldest = np.full(self._num_sets, 0, dtype=np.int64)
        self._rows: Bytes = np.zeros((self._num_sets, WAYS, 0), dtype=np.uint8)

    def get(self, digests: Bytes) -> tuple[Mask, Bytes]:
        """Return which digests `(texts, DIGEST_BYTES)` have a row, and these rows `(hits, row_bytes)`."""
        present, sets, ways = self._look_up(digests)
        hits = present & ~self._claimed[sets, ways]
        return hits, self._rows[sets[hits], ways[hits]]

    def get_or_claim(self, digests: Bytes) -> tuple[Mask, Bytes, Mask]:
        """Return what `get` does, and which digests another worker has claimed. Claim those that are new."""
        present, sets, ways = self._look_up(digests)
        claimed_before = present & self._claimed[sets, ways]
        hits, rows = self.get(digests)
        self._insert(digests[~present], claimed=True)
        return hits, rows, claimed_before

    def put(self, digests: Bytes, rows: Bytes) -> None:
        """Store a row of uint8 `(texts, row_bytes)` for each digest."""
        if self._rows.shape[2] != rows.shape[1]:
            self._rows = np.full((self._num_sets, WAYS, rows.shape[1]), 0, dtype=np.uint8)
        present, _, _ = self._look_up(digests)
        self._insert(digests[~present], claimed=False)
        present, sets, ways = self._look_up(digests)
        self._rows[sets[present], ways[present]] = rows[present]
        self._claimed[sets[present], ways[present]] = False

    def _look_up(self, digests: Bytes) -> tuple[Mask, Indices, Indices]:
        """Return which digests are present, the set of each, and the way of those that are present."""
        keys = np.ascontiguousarray(digests).view(np.uint64)
        sets = (keys[:, 0] % np.uint64(self._num_sets)).astype(np.int64)
        matches = (self._digests[sets] == keys[:, None]).all(axis=2)
        return matches.any(axis=1), sets, matches.argmax(axis=1)

    def _insert(self, digests: Bytes, *, claimed: bool) -> None:
        keys = np.ascontiguousarray(digests).view(np.uint64)
        sets = (keys[:, 0] % np.uint64(self._num_sets)).astype(np.int64)
        order = np.argsort(sets, kind="stable")
        keys, sets = keys[order], sets[order]
        before_in_set = np.arange(len(sets)) - np.searchsorted(sets, sets)
        ways = (self._oldest[sets] + before_in_set) % WAYS
        self._digests[sets, ways], self._claimed[sets, ways] = keys, claimed
        np.add.at(self._oldest, sets, 1)


@contextmanager
def share_text_cache(max_texts: int) -> Iterator[Any]:
    """Yield the handle of a cache in a process of its own, which ends with the block; None without any texts.

    A handle alone would keep the process: what is left of a run in Ray Data may hold one for as long as the driver.
    """
    actor = ray.remote(num_cpus=0)(TextCache).remote(max_texts) if max_texts else None
    try:
        yield actor
    finally:
        if actor is not None:
            ray.kill(actor)


def scores_to_bytes(scores: Scores) -> Bytes:
    """Return scores as bytes, uint8 `(texts, row_bytes)`."""
    columns = [np.ascontiguousarray(getattr(scores, column.name)) for column in fields(Scores)]
    return np.concatenate([_column_to_bytes(column) for column in columns], axis=1)


def bytes_to_scores(rows: Bytes, like: Scores) -> Scores:
    """Return the scores that `scores_to_bytes` made these bytes of; widths and types are those of `like`."""
    values: list[Any] = []
    start = 0
    for column in fields(Scores):
        example = getattr(like, column.name)
        width = _row_width(example)
        part = np.ascontiguousarray(rows[:, start : start + width]).view(example.dtype)
        values.append(part.reshape(len(rows), *example.shape[1:]))
        start += width
    return Scores(*values)


def _column_to_bytes(column: NDArray[Any]) -> Bytes:
    return np.frombuffer(column.tobytes(), dtype=np.uint8).reshape(len(column), _row_width(column))


def _row_width(column: NDArray[Any]) -> int:
    return int(column.dtype.itemsize * (column.shape[1] if column.ndim == 2 else 1))

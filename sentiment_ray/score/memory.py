"""Remembers the scores of texts for all actors of a run, the newest so many; knows digests and bytes, no texts."""

from dataclasses import fields
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from sentiment_ray.inference.predictor import Scores

DIGEST_BYTES = 16
WAYS = 8
"""Places that a text may take: with half of all places taken, 2 % of the texts find theirs full."""

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Places = NDArray[np.int64]


class TextTable:
    """Rows of bytes by the digest of a text, in memory that is taken at once and never grows.

    A digest names a set of WAYS places; when they are full, a new text takes the place of the oldest. A text that an
    actor is about to score is claimed, so that others leave it for later instead of scoring it too.
    """

    def __init__(self, max_texts: int) -> None:
        self._num_sets = max(1, max_texts // WAYS)
        self._digests = np.full((self._num_sets, WAYS, 2), 0, dtype=np.uint64)
        self._claimed = np.full((self._num_sets, WAYS), False)
        self._oldest = np.full(self._num_sets, 0, dtype=np.int64)
        self._rows: Bytes = np.zeros((self._num_sets, WAYS, 0), dtype=np.uint8)

    def recall(self, digests: Bytes) -> tuple[Mask, Bytes]:
        """Return which digests `(texts, DIGEST_BYTES)` have rows, and the rows of those `(known, row_bytes)`."""
        found, sets, ways = self._places_of(digests)
        known = found & ~self._claimed[sets, ways]
        return known, self._rows[sets[known], ways[known]]

    def claim(self, digests: Bytes) -> tuple[Mask, Bytes, Mask]:
        """Return what `recall` does and which digests somebody else has claimed; those that are new are claimed now."""
        found, sets, ways = self._places_of(digests)
        others = found & self._claimed[sets, ways]
        known, rows = self.recall(digests)
        self._insert(digests[~found], claimed=True)
        return known, rows, others

    def remember(self, digests: Bytes, rows: Bytes) -> None:
        """Keep a row of uint8 `(texts, row_bytes)` for each digest."""
        if self._rows.shape[2] != rows.shape[1]:
            self._rows = np.full((self._num_sets, WAYS, rows.shape[1]), 0, dtype=np.uint8)
        found, _, _ = self._places_of(digests)
        self._insert(digests[~found], claimed=False)
        found, sets, ways = self._places_of(digests)
        self._rows[sets[found], ways[found]] = rows[found]
        self._claimed[sets[found], ways[found]] = False

    def _places_of(self, digests: Bytes) -> tuple[Mask, Places, Places]:
        """Return which digests are there, the set of each, and its way where it is there."""
        keys = np.ascontiguousarray(digests).view(np.uint64)
        sets = (keys[:, 0] % np.uint64(self._num_sets)).astype(np.int64)
        hits = (self._digests[sets] == keys[:, None]).all(axis=2)
        return hits.any(axis=1), sets, hits.argmax(axis=1)

    def _insert(self, digests: Bytes, *, claimed: bool) -> None:
        keys = np.ascontiguousarray(digests).view(np.uint64)
        sets = (keys[:, 0] % np.uint64(self._num_sets)).astype(np.int64)
        order = np.argsort(sets, kind="stable")
        keys, sets = keys[order], sets[order]
        before_in_set = np.arange(len(sets)) - np.searchsorted(sets, sets)
        ways = (self._oldest[sets] + before_in_set) % WAYS
        self._digests[sets, ways], self._claimed[sets, ways] = keys, claimed
        np.add.at(self._oldest, sets, 1)


TextMemory: Any = ray.remote(num_cpus=0)(TextTable)
"""The actor that holds the table of a run."""


def to_rows(scores: Scores) -> Bytes:
    """Return the bytes of scores, uint8 `(texts, row_bytes)`."""
    columns = [np.ascontiguousarray(getattr(scores, column.name)) for column in fields(Scores)]
    return np.concatenate([_as_bytes(column) for column in columns], axis=1)


def from_rows(rows: Bytes, like: Scores) -> Scores:
    """Return the scores whose bytes `to_rows` gave, with the widths and types of `like`."""
    values: list[Any] = []
    start = 0
    for column in fields(Scores):
        wanted = getattr(like, column.name)
        width = wanted.dtype.itemsize * (wanted.shape[1] if wanted.ndim == 2 else 1)
        part = np.ascontiguousarray(rows[:, start : start + width]).view(wanted.dtype)
        values.append(part.reshape(len(rows), *wanted.shape[1:]))
        start += width
    return Scores(*values)


def _as_bytes(column: NDArray[Any]) -> Bytes:
    width = column.dtype.itemsize * (column.shape[1] if column.ndim == 2 else 1)
    return np.frombuffer(column.tobytes(), dtype=np.uint8).reshape(len(column), width)

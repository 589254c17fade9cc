"""Remembers the scores of texts for all actors of a run, the newest so many; knows digests and bytes, no texts."""

from dataclasses import fields
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from sentiment_ray.predictor import Scores

DIGEST_BYTES = 16
WAYS = 8
"""Places that a text may take: with half of all places taken, 2 % of the texts find theirs full."""

Bytes = NDArray[np.uint8]


class TextTable:
    """Rows of bytes by the digest of a text, in memory that is taken at once and never grows.

    A digest names a set of WAYS places; when they are full, a new text takes the place of the oldest.
    """

    def __init__(self, max_texts: int) -> None:
        self._num_sets = max(1, max_texts // WAYS)
        self._digests = np.full((self._num_sets, WAYS, 2), 0, dtype=np.uint64)
        self._oldest = np.full(self._num_sets, 0, dtype=np.int64)
        self._rows: Bytes = np.zeros((self._num_sets, WAYS, 0), dtype=np.uint8)

    def recall(self, digests: Bytes) -> tuple[NDArray[np.bool_], Bytes]:
        """Return which digests `(texts, DIGEST_BYTES)` are known, and the rows of those `(known, row_bytes)`."""
        keys, sets = self._sets_of(digests)
        hits = (self._digests[sets] == keys[:, None]).all(axis=2)
        known = hits.any(axis=1)
        return known, self._rows[sets[known], hits[known].argmax(axis=1)]

    def remember(self, digests: Bytes, rows: Bytes) -> None:
        """Keep a row of uint8 `(texts, row_bytes)` for each digest; those that are known already stay as they are."""
        if self._rows.shape[2] != rows.shape[1]:
            self._rows = np.full((self._num_sets, WAYS, rows.shape[1]), 0, dtype=np.uint8)
        known, _ = self.recall(digests)
        keys, sets = self._sets_of(digests[~known])
        order = np.argsort(sets, kind="stable")
        keys, sets = keys[order], sets[order]
        before_in_set = np.arange(len(sets)) - np.searchsorted(sets, sets)
        ways = (self._oldest[sets] + before_in_set) % WAYS
        self._digests[sets, ways], self._rows[sets, ways] = keys, rows[~known][order]
        np.add.at(self._oldest, sets, 1)

    def _sets_of(self, digests: Bytes) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        keys = np.ascontiguousarray(digests).view(np.uint64)
        return keys, (keys[:, 0] % np.uint64(self._num_sets)).astype(np.int64)


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

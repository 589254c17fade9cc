"""Remembers the scores of texts for all actors of a run, the newest so many; knows digests and numbers, no texts."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from sentiment_ray.predictor import Scores

DIGEST_BYTES = 16


@ray.remote(num_cpus=0)
class TextMemory:
    """Rows of numbers by the digest of a text; when full, the oldest give way."""

    def __init__(self, max_texts: int) -> None:
        self._max_texts = max_texts
        self._places: dict[bytes, int] = {}
        self._digests: list[bytes] = []
        self._rows: list[bytes] = []
        self._next = 0

    def recall(self, digests: bytes) -> list[bytes | None]:
        """Return the row of each digest, or None; digests stand one after the other, DIGEST_BYTES each."""
        places = (self._places.get(digest) for digest in _split(digests))
        return [None if place is None else self._rows[place] for place in places]

    def remember(self, digests: bytes, rows: bytes, row_bytes: int) -> None:
        """Keep a row for each digest."""
        for number, digest in enumerate(_split(digests)):
            if digest in self._places:
                continue
            row = rows[number * row_bytes : (number + 1) * row_bytes]
            if len(self._rows) < self._max_texts:
                self._digests.append(digest)
                self._rows.append(row)
                self._places[digest] = len(self._rows) - 1
            else:
                place = self._next % self._max_texts
                del self._places[self._digests[place]]
                self._digests[place], self._rows[place] = digest, row
                self._places[digest] = place
                self._next += 1


def to_rows(scores: Scores) -> NDArray[np.float64]:
    """Return scores as numbers `(texts, columns)`: every field of them is exact in a double."""
    columns = [getattr(scores, column.name) for column in fields(Scores)]
    return np.column_stack([column.astype(np.float64) for column in columns])


def from_rows(rows: Sequence[bytes], like: Scores) -> Scores:
    """Return the scores that bytes of `to_rows` hold, with the widths and types of `like`."""
    numbers = np.frombuffer(b"".join(rows), dtype=np.float64).reshape(len(rows), -1)
    values: list[Any] = []
    start = 0
    for column in fields(Scores):
        wanted = getattr(like, column.name)
        width = wanted.shape[1] if wanted.ndim == 2 else 1
        values.append(numbers[:, start : start + width].astype(wanted.dtype).reshape(len(rows), *wanted.shape[1:]))
        start += width
    return Scores(*values)


def _split(digests: bytes) -> list[bytes]:
    return [digests[start : start + DIGEST_BYTES] for start in range(0, len(digests), DIGEST_BYTES)]

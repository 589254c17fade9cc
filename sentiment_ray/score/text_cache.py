"""Caches the scores of texts for all workers of a run; holds digests and bytes, no texts."""

from collections.abc import Iterator, Sequence
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
WORKERS_PER_ACTOR = 64
"""Workers that one actor serves. An actor takes 600,000 texts a second, a worker with a GPU scores some thousand."""
MIN_ASKED = 65_536
"""Texts that a worker asks for before it may stop."""
MIN_FOUND_SHARE = 0.005
"""Smallest share of texts that must be found. To ask for a text takes some microseconds, to score it at least 100."""

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
        self._digests = np.zeros((self._num_sets, WAYS, 2), dtype=np.uint64)  # takes memory only where it is used
        self._claimed = np.zeros((self._num_sets, WAYS), dtype=np.bool_)
        self._oldest = np.zeros(self._num_sets, dtype=np.int64)
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
            self._rows = np.zeros((self._num_sets, WAYS, rows.shape[1]), dtype=np.uint8)
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


class SharedTextCache:
    """The cache that all workers of a run share, as one worker sees it: several actors, each with some of the digests.

    Where hardly any text is found, a worker stops asking. Calls raise RayError when an actor has died.
    """

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = list(actors)
        self._num_asked = self._num_found = 0

    def get(self, digests: Bytes) -> tuple[Mask, Bytes]:
        """Return which digests `(texts, DIGEST_BYTES)` have a row, and these rows `(hits, row_bytes)`."""
        shards = self._split(digests)
        replies = ray.get([actor.get.remote(digests[shard]) for actor, shard in shards])
        hits, rows = _join_hits(len(digests), shards, replies)
        self._num_found += int(hits.sum())
        return hits, rows

    def get_or_claim(self, digests: Bytes) -> tuple[Mask, Bytes, Mask]:
        """Return what `get` does, and which digests another worker has claimed. Claim those that are new."""
        claimed = np.zeros(len(digests), dtype=np.bool_)
        if not is_worth_asking(self._num_asked, self._num_found):
            return claimed.copy(), np.zeros((0, 0), dtype=np.uint8), claimed
        shards = self._split(digests)
        replies = ray.get([actor.get_or_claim.remote(digests[shard]) for actor, shard in shards])
        hits, rows = _join_hits(len(digests), shards, replies)
        for (_, shard), reply in zip(shards, replies, strict=True):
            claimed[shard] = reply[2]
        self._num_asked += len(digests)
        self._num_found += int(hits.sum())
        return hits, rows, claimed

    def put(self, digests: Bytes, rows: Bytes) -> None:
        """Store a row of uint8 `(texts, row_bytes)` for each digest; return before this is done."""
        if is_worth_asking(self._num_asked, self._num_found):
            for actor, shard in self._split(digests):
                actor.put.remote(digests[shard], rows[shard])

    def _split(self, digests: Bytes) -> list[tuple[Any, Indices]]:
        """Return the actors and, for each, the indices of its digests. An actor uses other bytes of a digest."""
        owners = digests[:, -1].astype(np.int64) % len(self._actors)
        shards = [(actor, np.flatnonzero(owners == number)) for number, actor in enumerate(self._actors)]
        return [(actor, shard) for actor, shard in shards if len(shard)]


def is_worth_asking(num_asked: int, num_found: int) -> bool:
    """Whether a worker should ask for further texts, after it has found the scores of so many that it asked for."""
    return num_asked < MIN_ASKED or num_found >= MIN_FOUND_SHARE * num_asked


def count_actors(num_workers: int) -> int:
    """Return how many actors hold the cache of so many workers."""
    return -(-num_workers // WORKERS_PER_ACTOR)


@contextmanager
def share_text_cache(max_texts: int, num_workers: int = 1) -> Iterator[SharedTextCache | None]:
    """Yield a cache in processes of its own, which end with the block; None without any texts.

    Handles alone would keep the processes: what is left of a run in Ray Data may hold some for as long as the driver.
    """
    num_actors = count_actors(num_workers) if max_texts else 0
    cached = ray.remote(num_cpus=0)(TextCache)
    actors = [cached.remote(-(-max_texts // num_actors)) for _ in range(num_actors)]
    try:
        yield SharedTextCache(actors) if actors else None
    finally:
        for actor in actors:
            ray.kill(actor)


def _join_hits(num_texts: int, shards: Sequence[tuple[Any, Indices]], replies: Sequence[Any]) -> tuple[Mask, Bytes]:
    """Return which of all texts were found, and their rows in the order of the texts."""
    hits = np.zeros(num_texts, dtype=np.bool_)
    found: list[Indices] = []
    for (_, shard), reply in zip(shards, replies, strict=True):
        hits[shard] = reply[0]
        found.append(shard[reply[0]])
    rows = [reply[1] for reply in replies if len(reply[1])]
    if not rows:
        return hits, np.zeros((0, 0), dtype=np.uint8)
    return hits, np.concatenate(rows)[np.argsort(np.concatenate(found))]


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

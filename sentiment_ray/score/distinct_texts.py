"""Scores every distinct text once, within a unit and, through the shared cache, within a run; knows no rows."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from sentiment_ray.errors import first_line
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.inference.scoring import Scores, restore_order
from sentiment_ray.score.text_cache import DIGEST_BYTES, bytes_to_scores, scores_to_bytes

MIN_TOKENS_PER_BATCH = 64
PUT_EVERY_TEXTS = 256
"""Texts after which their scores are put into the cache: a second or two of work."""


def choose_cache(predictor: Predictor, cache: Any, *, tokens_per_batch: int) -> Any:
    """Return the shared cache of scores, or None where the scores of a text depend on the texts of its batch."""
    if cache is None or not predictor.is_batch_invariant(tokens_per_batch=tokens_per_batch):
        return None
    return cache


class DistinctTexts:
    """Scores the distinct texts of a unit, except those that another worker has put into `cache`, where there is one.

    The bytes of a part must not depend on what was scored before. So pass a cache only where a text gets the same bits
    in any batch; see `choose_cache`. Within a unit equal texts always share a score: its texts have one order.
    """

    def __init__(self, predictor: Predictor, tokens_per_batch: int, cache: Any = None) -> None:
        self._predictor = predictor
        self._tokens_per_batch = tokens_per_batch
        self._cache = cache
        self._index_by_digest: dict[bytes, int] = {}
        self._scores = predictor.score([])
        """The scores of the distinct texts so far, and room for more."""
        self._num_distinct = 0
        self.num_scored = 0

    def score(self, texts: Sequence[str]) -> Scores:
        """Return the scores of texts in their order."""
        indices = np.empty(len(texts), dtype=np.int64)
        new: dict[bytes, str] = {}
        for row, text in enumerate(texts):
            digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
            indices[row] = self._index_by_digest.setdefault(digest, len(self._index_by_digest))
            if indices[row] == self._num_distinct + len(new):
                new[digest] = text
        if new:
            self._append(self._score_new(new))
        return _take(self._scores, indices)

    def _append(self, new: Scores) -> None:
        """Keep the scores of new texts; the room for them doubles, so that the whole is copied rarely."""
        end = self._num_distinct + len(new.label_ids)
        if end > len(self._scores.label_ids):
            self._scores = _make_room(self._scores, max(end, 2 * self._num_distinct))
        for column in fields(Scores):
            getattr(self._scores, column.name)[self._num_distinct : end] = getattr(new, column.name)
        self._num_distinct = end

    def _score_new(self, new: dict[bytes, str]) -> Scores:
        """Return the scores of texts that are new to this unit, given by digest."""
        texts = list(new.values())
        if self._cache is not None:
            scored_before = self.num_scored
            try:
                digests = np.frombuffer(b"".join(new), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
                return self._score_with_cache(digests, texts)
            except ray.exceptions.RayError:
                self._cache = None  # the actor died with its node; from here on every text is scored
                self.num_scored = scored_before
        return restore_order(self._score_in_batches(texts), len(texts))

    def _score_with_cache(self, digests: NDArray[np.uint8], texts: Sequence[str]) -> Scores:
        """Take the scores that the cache has, score the texts that nobody has claimed, then ask for the claimed ones.

        A claimed text that is still missing then is scored here too. Batches run longest text first, so that such
        texts are the short and cheap ones.
        """
        like = self._predictor.score([])
        rows = np.zeros((len(texts), scores_to_bytes(like).shape[1]), dtype=np.uint8)

        def score(wanted: NDArray[np.intp]) -> None:
            finished: list[NDArray[np.intp]] = []
            for indices, scores in self._score_in_batches([texts[int(index)] for index in wanted]):
                rows[wanted[indices]] = scores_to_bytes(scores)
                finished.append(wanted[indices])
                if sum(map(len, finished)) >= PUT_EVERY_TEXTS:
                    put(finished)
            put(finished)

        def put(finished: list[NDArray[np.intp]]) -> None:
            if finished:
                indices = np.concatenate(finished)
                self._cache.put.remote(digests[indices], rows[indices])
                finished.clear()

        hits, cached, claimed = ray.get(self._cache.get_or_claim.remote(digests))
        _fill(rows, np.flatnonzero(hits), cached)
        score(np.flatnonzero(~hits & ~claimed))
        claimed_indices = np.flatnonzero(claimed)
        if len(claimed_indices):
            hits, cached = ray.get(self._cache.get.remote(digests[claimed_indices]))
            _fill(rows, claimed_indices[hits], cached)
            score(claimed_indices[~hits])
        return bytes_to_scores(rows, like=like)

    def _score_in_batches(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.intp], Scores]]:
        """Yield indices and scores of batches; when memory runs out, begin again with batches of half the size."""
        if not texts:
            return
        self.num_scored += len(texts)
        while True:
            try:
                yield from self._predictor.score_in_batches(texts, tokens_per_batch=self._tokens_per_batch)
                return
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                if self._tokens_per_batch <= MIN_TOKENS_PER_BATCH:
                    raise MemoryError(first_line(error)) from error  # says nothing about the texts
                self._tokens_per_batch //= 2


def _fill(rows: NDArray[np.uint8], indices: NDArray[np.int64], cached: NDArray[np.uint8]) -> None:
    if len(indices):  # an empty cache does not know yet how wide its rows are
        rows[indices] = cached


def _take(scores: Scores, indices: NDArray[np.int64]) -> Scores:
    return Scores(*(getattr(scores, column.name)[indices] for column in fields(Scores)))


def _make_room(scores: Scores, num_texts: int) -> Scores:
    """Return the same scores with room for `num_texts`."""
    columns = [getattr(scores, column.name) for column in fields(Scores)]
    more = [np.empty((num_texts - len(column), *column.shape[1:]), column.dtype) for column in columns]
    return Scores(*(np.concatenate([column, room]) for column, room in zip(columns, more, strict=True)))


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(word in text for word in ("bad_alloc", "allocate", "out of memory"))

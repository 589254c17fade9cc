"""Scores every distinct text once, within a unit and, through the shared cache, within a run; knows no rows."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import fields

import numpy as np
import ray
from numpy.typing import NDArray

from sentiment_ray.errors import first_line
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.inference.scoring import Scores, restore_order
from sentiment_ray.score.text_cache import (
    DIGEST_BYTES,
    SharedTextCache,
    TextCache,
    bytes_to_scores,
    scores_to_bytes,
)

MIN_TOKENS_PER_BATCH = 64
PUT_EVERY_TEXTS = 256
"""Texts after which their scores are put into the cache: a second or two of work."""
KNOWN_TEXTS = 1 << 18
"""Slots for the distinct texts of a unit, about 60 bytes each. A unit of the usual size fills a third of them."""


def choose_cache(
    predictor: Predictor, cache: SharedTextCache | None, *, tokens_per_batch: int
) -> SharedTextCache | None:
    """Return the shared cache of scores, or None where the scores of a text depend on the texts of its batch."""
    if cache is None or not predictor.is_batch_invariant(tokens_per_batch=tokens_per_batch):
        return None
    return cache


class DistinctTexts:
    """Scores the distinct texts of a unit, except those that another worker has put into `cache`, where there is one.

    The bytes of a part must not depend on what was scored before. So pass a cache only where a text gets the same bits
    in any batch; see `choose_cache`. Within a unit equal texts share a score: its texts have one order. What is known
    of a unit has a fixed size, so that of very many distinct texts the oldest are scored again when they come again.
    """

    def __init__(self, predictor: Predictor, tokens_per_batch: int, cache: SharedTextCache | None = None) -> None:
        self._predictor = predictor
        self._tokens_per_batch = tokens_per_batch
        self._cache = cache
        self._none = predictor.score([])
        self._known = TextCache(KNOWN_TEXTS)
        self.num_scored = 0

    def score(self, texts: Sequence[str]) -> Scores:
        """Return the scores of texts in their order."""
        index_by_digest: dict[bytes, int] = {}
        distinct: list[str] = []
        indices = np.empty(len(texts), dtype=np.int64)
        for row, text in enumerate(texts):
            digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
            indices[row] = index_by_digest.setdefault(digest, len(distinct))
            if indices[row] == len(distinct):
                distinct.append(text)
        digests = np.frombuffer(b"".join(index_by_digest), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        rows = self._make_rows(len(distinct))
        is_known, known_rows = self._known.get(digests)
        _fill(rows, np.flatnonzero(is_known), known_rows)
        new = np.flatnonzero(~is_known)
        if len(new):
            rows[new] = self._score_new(digests[new], [distinct[int(index)] for index in new])
            self._known.put(digests[new], rows[new])
        return _take(bytes_to_scores(rows, like=self._none), indices)

    def _make_rows(self, num_texts: int) -> NDArray[np.uint8]:
        return np.zeros((num_texts, scores_to_bytes(self._none).shape[1]), dtype=np.uint8)

    def _score_new(self, digests: NDArray[np.uint8], texts: Sequence[str]) -> NDArray[np.uint8]:
        """Return the scores of texts that are new to this unit, as bytes."""
        if self._cache is not None:
            scored_before = self.num_scored
            try:
                return self._score_with_cache(self._cache, digests, texts)
            except ray.exceptions.RayError:
                self._cache = None  # an actor died with its node; from here on every text is scored
                self.num_scored = scored_before
        return scores_to_bytes(restore_order(self._score_in_batches(texts), len(texts)))

    def _score_with_cache(
        self, cache: SharedTextCache, digests: NDArray[np.uint8], texts: Sequence[str]
    ) -> NDArray[np.uint8]:
        """Take the scores that the cache has, score the texts that nobody has claimed, then ask for the claimed ones.

        A claimed text that is still missing then is scored here too. Batches run longest text first, so that such
        texts are the short and cheap ones.
        """
        rows = self._make_rows(len(texts))

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
                cache.put(digests[indices], rows[indices])
                finished.clear()

        hits, cached, claimed = cache.get_or_claim(digests)
        _fill(rows, np.flatnonzero(hits), cached)
        score(np.flatnonzero(~hits & ~claimed))
        claimed_indices = np.flatnonzero(claimed)
        if len(claimed_indices):
            hits, cached = cache.get(digests[claimed_indices])
            _fill(rows, claimed_indices[hits], cached)
            score(claimed_indices[~hits])
        return rows

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


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(word in text for word in ("bad_alloc", "allocate", "out of memory"))

"""Decides by hashes and times which split, bucket and sample a row belongs to; knows no files, labels or Ray.

A hash is 128 bits, kept as four little-endian words: the bucket, the split and the sample each have a word of their
own, so that none of these choices leans on another; the last word is for what is drawn among training rows. Equal texts
make equal choices in every file and on every machine.
"""

import unicodedata
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.data.config import SPLITS

HASH_BYTES = 16
WORD = np.dtype("<u4")
BUCKET_WORD, SPLIT_WORD, SAMPLE_WORD, LAST_WORD = range(4)
TRAIN, VALIDATION, TEST = range(len(SPLITS))


def normalise(text: str) -> str:
    """Return the text as it counts for identity: NFKC, case folded, each run of white space one blank."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def hash_texts(texts: Iterable[str], *, seed: int) -> NDArray[np.uint32]:
    """Return a stable hash of each normalised text: words `(texts, 4)`."""
    start = blake2b(digest_size=HASH_BYTES, key=str(seed).encode(), person=b"sentiment-ray")
    digests = []
    for text in texts:
        state = start.copy()
        state.update(normalise(text).encode())
        digests.append(state.digest())
    return words_of(b"".join(digests))


def hash_groups(groups: Iterable[str | None], *, seed: int) -> NDArray[np.int64]:
    """Return a stable hash of each name of a group, `(groups,)`; 0 for None."""
    start = blake2b(digest_size=8, key=str(seed).encode(), person=b"sentiment-group")
    digests = []
    for group in groups:
        state = start.copy()
        state.update((group or "").encode())
        digests.append(state.digest() if group is not None else bytes(8))
    return np.frombuffer(b"".join(digests), dtype="<i8")


def words_of(digests: bytes) -> NDArray[np.uint32]:
    """Return the words `(hashes, 4)` of hashes that stand one after another."""
    return np.frombuffer(digests, dtype=WORD).reshape(-1, HASH_BYTES // WORD.itemsize)


def bucket_of(words: NDArray[np.uint32], num_buckets: int) -> NDArray[np.uint32]:
    """Return the bucket of each hash, 0 to `num_buckets` - 1: `(hashes,)`."""
    return words[:, BUCKET_WORD] % np.uint32(num_buckets)


def split_of(words: NDArray[np.uint32], *, validation_share: float, test_share: float) -> NDArray[np.intp]:
    """Return the place in SPLITS of each hash, `(hashes,)`.

    It depends on nothing but the hash and the shares: more rows never move those that were there.
    """
    return _split_at(words[:, SPLIT_WORD] / 2**32, validation_share, test_share)


def split_of_groups(groups: NDArray[np.int64], *, validation_share: float, test_share: float) -> NDArray[np.intp]:
    """Return the place in SPLITS of each hash of a group, `(rows,)`, whatever other groups there are."""
    return _split_at(groups.view(np.uint64) / 2**64, validation_share, test_share)


def split_of_times(times: NDArray[np.int64], *, validation_from: int, test_from: int) -> NDArray[np.intp]:
    """Return the place in SPLITS of each time, `(rows,)`: by declared days, so that new rows move no old ones.

    Times and bounds are microseconds since 1970.
    """
    return np.where(times >= test_from, TEST, np.where(times >= validation_from, VALIDATION, TRAIN))


def split_keys(words: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return what rows of a label are ranked by to be divided, `(hashes,)`: first the word that draws the split."""
    return _joined(words[:, SPLIT_WORD], words[:, LAST_WORD])


def train_keys(words: NDArray[np.uint32], copies: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Return what training rows are drawn by, `(hashes,)`; `copies` counts the rows with one text from 0."""
    return _joined(words[:, LAST_WORD], words[:, BUCKET_WORD] + copies.astype(np.uint32))


def text_keys(words: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return by what a text is found among those of its bucket, `(hashes,)`."""
    return _joined(words[:, SPLIT_WORD], words[:, SAMPLE_WORD])


def _joined(high: NDArray[np.uint32], low: NDArray[np.uint32]) -> NDArray[np.uint64]:
    return (high.astype(np.uint64) << np.uint64(32)) | low.astype(np.uint64)


def _split_at(place: NDArray[np.float64], validation_share: float, test_share: float) -> NDArray[np.intp]:
    return np.where(place < test_share, TEST, np.where(place < test_share + validation_share, VALIDATION, TRAIN))


def in_sample(words: NDArray[np.uint32], share: float) -> NDArray[np.bool_]:
    """Whether each hash belongs to a sample of this share, `(hashes,)`; a smaller sample is part of a larger one."""
    return words[:, SAMPLE_WORD] / 2**32 < share

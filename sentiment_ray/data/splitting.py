"""Decides by a text's hash which split, bucket and sample it belongs to; knows no files, labels or Ray.

A hash is 128 bits, kept as four little-endian words: the bucket, the split and the sample each have a word of their
own, so that none of these choices leans on another. Equal texts make equal choices in every file and on every machine.
"""

import unicodedata
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.data.config import SPLITS

HASH_BYTES = 16
WORD = np.dtype("<u4")
BUCKET_WORD, SPLIT_WORD, SAMPLE_WORD = 0, 1, 2
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
    place = words[:, SPLIT_WORD] / 2**32
    return np.where(place < test_share, TEST, np.where(place < test_share + validation_share, VALIDATION, TRAIN))


def in_sample(words: NDArray[np.uint32], share: float) -> NDArray[np.bool_]:
    """Whether each hash belongs to a sample of this share, `(hashes,)`; a smaller sample is part of a larger one."""
    return words[:, SAMPLE_WORD] / 2**32 < share

"""Stable hashes of texts and groups, and the bucket and the sample that a hash belongs to.

A hash of a text has 128 bits and is kept as a row of four little-endian uint32. The bucket, the split and the sample
each use a column of their own, so that these choices are independent; the last column is for draws among training rows.
Equal texts have equal hashes in every file and on every machine.
"""

import unicodedata
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

HASH_BYTES = 16
HASH_TYPE = pa.binary(HASH_BYTES)
NUM_COLUMNS = 4
BUCKET_COLUMN, SPLIT_COLUMN, SAMPLE_COLUMN, DRAW_COLUMN = range(NUM_COLUMNS)


def normalise(text: str) -> str:
    """Return the form in which texts are compared: NFKC, case folded, each run of white space as one space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def hash_texts(texts: Iterable[str], *, seed: int) -> NDArray[np.uint32]:
    """Return a stable hash of each normalised text: uint32 `(texts, 4)`."""
    start = blake2b(digest_size=HASH_BYTES, key=str(seed).encode(), person=b"sentiment-ray")
    digests = []
    for text in texts:
        state = start.copy()
        state.update(normalise(text).encode())
        digests.append(state.digest())
    return _from_bytes(b"".join(digests))


def hash_groups(groups: Iterable[str | None], *, seed: int) -> NDArray[np.int64]:
    """Return a stable hash of each group's name: int64 `(groups,)`; 0 for None."""
    start = blake2b(digest_size=8, key=str(seed).encode(), person=b"sentiment-group")
    digests = []
    for group in groups:
        state = start.copy()
        state.update((group or "").encode())
        digests.append(state.digest() if group is not None else bytes(8))
    return np.frombuffer(b"".join(digests), dtype="<i8")


def read_hashes(column: pa.ChunkedArray) -> NDArray[np.uint32]:
    """Return the hashes of an Arrow column of HASH_TYPE: uint32 `(rows, 4)`."""
    array = column.combine_chunks()
    raw = array.buffers()[1].to_pybytes() if len(array) else b""
    return _from_bytes(raw[array.offset * HASH_BYTES : (array.offset + len(array)) * HASH_BYTES])


def to_arrow(hashes: NDArray[np.uint32]) -> pa.Array:
    """Return hashes, uint32 `(rows, 4)`, as an Arrow array of HASH_TYPE."""
    return pa.Array.from_buffers(HASH_TYPE, len(hashes), [None, pa.py_buffer(np.ascontiguousarray(hashes).tobytes())])


def assign_buckets(hashes: NDArray[np.uint32], num_buckets: int) -> NDArray[np.uint32]:
    """Return the bucket of each hash, from 0 to `num_buckets` - 1: `(hashes,)`."""
    return hashes[:, BUCKET_COLUMN] % np.uint32(num_buckets)


def select_sample(hashes: NDArray[np.uint32], share: float) -> NDArray[np.bool_]:
    """Return whether each hash is in a sample of this share: `(hashes,)`. A larger sample contains a smaller one."""
    return to_fractions(hashes, SAMPLE_COLUMN) < share


def to_fractions(hashes: NDArray[np.uint32], column: int) -> NDArray[np.float64]:
    """Return one column of the hashes as uniform fractions in [0, 1): `(hashes,)`."""
    return hashes[:, column] / 2**32


def join_columns(high: NDArray[np.uint32], low: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return sort keys of 64 bits made of two columns: uint64 `(hashes,)`."""
    return (high.astype(np.uint64) << np.uint64(32)) | low.astype(np.uint64)


def _from_bytes(raw: bytes) -> NDArray[np.uint32]:
    return np.frombuffer(raw, dtype="<u4").reshape(-1, NUM_COLUMNS)

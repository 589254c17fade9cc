"""Finds the key at an exact rank among all rows without holding all keys in memory; knows keys, not rows.

Each bucket writes one sorted uint64 array for each label. A binary search over the key space then finds the key that a
given number of keys are below. Each step of the search reads a few pages of each file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAX_KEY = (1 << 64) - 1


@dataclass(frozen=True)
class SortedKeys:
    """The sorted keys of a bucket: one file for each label (None for a label without keys), and their counts."""

    bucket: int
    files: tuple[Path | None, ...]
    counts: NDArray[np.int64]
    """`(labels,)`"""


def write_sorted_keys(
    directory: Path, name: str, bucket: int, keys: NDArray[np.uint64], label: NDArray[np.int32], num_labels: int
) -> SortedKeys:
    """Write the sorted keys of each label to DIRECTORY/NAME-BUCKET-LABEL.npy."""
    files: list[Path | None] = []
    counts = np.bincount(label, minlength=num_labels)
    for index in range(num_labels):
        path = directory / f"{name}-{bucket:05d}-{index}.npy"
        if counts[index]:
            np.save(path, np.sort(keys[label == index]))
        files.append(path if counts[index] else None)
    return SortedKeys(bucket, tuple(files), counts)


def count_by_label(buckets: Sequence[SortedKeys]) -> NDArray[np.int64]:
    """Return the number of keys of each label in all buckets: `(labels,)`."""
    return np.sum([each.counts for each in buckets], axis=0)


def find_keys_at_ranks(buckets: Sequence[SortedKeys], ranks: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return for each label and rank the smallest key that at least `rank` of the label's keys are below.

    `ranks` and the result have the shape `(labels, ranks)`.
    """
    keys = []
    for label, label_ranks in enumerate(ranks.tolist()):
        files = [path for each in buckets if (path := each.files[label]) is not None]
        keys.append([find_key_at_rank(files, rank) for rank in label_ranks])
    return np.array(keys, dtype=np.uint64)


def find_key_at_rank(files: Sequence[Path], rank: int) -> int:
    """Return the smallest key that at least `rank` keys of the sorted files are below."""
    arrays = [np.load(path, mmap_mode="r") for path in files]
    low, high = 0, MAX_KEY
    while low < high:
        middle = (low + high) // 2
        if sum(int(np.searchsorted(keys, np.uint64(middle))) for keys in arrays) >= rank:
            high = middle
        else:
            low = middle + 1
    return low

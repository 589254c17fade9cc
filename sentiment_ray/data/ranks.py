"""Finds what divides all rows exactly, by keys on disk that are never all in memory; knows no rows, only keys.

A tally is a sorted array of uint64 keys a bucket and label, in a file of its own. The key that a given number of keys
are below is found by halving, which looks at a few pages of each file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAX_KEY = (1 << 64) - 1


@dataclass(frozen=True)
class Tally:
    """The keys of a bucket: files by label, `None` for a label without any, and how many each holds, `(labels,)`."""

    bucket: int
    files: tuple[Path | None, ...]
    counts: NDArray[np.int64]


def write_tally(
    directory: Path, name: str, bucket: int, keys: NDArray[np.uint64], label: NDArray[np.int32], num_labels: int
) -> Tally:
    """Write the keys of each label, sorted, to DIRECTORY/NAME-BUCKET-LABEL.npy."""
    files: list[Path | None] = []
    counts = np.bincount(label, minlength=num_labels)
    for place in range(num_labels):
        path = directory / f"{name}-{bucket:05d}-{place}.npy"
        if counts[place]:
            np.save(path, np.sort(keys[label == place]))
        files.append(path if counts[place] else None)
    return Tally(bucket, tuple(files), counts)


def cuts_of(tallies: Sequence[Tally], *, validation_share: float, test_share: float) -> NDArray[np.uint64]:
    """Return for each label the keys below which its rows are for the test, and for validation: uint64 `(labels, 2)`.

    Each split has the share of a label's rows that it should have, to within one row. When rows are added the keys
    change, and rows near them change sides; with hashes of texts or groups, and with times, none ever does.
    """
    counts = _total(tallies)
    ends = [[round(count * test_share), round(count * (test_share + validation_share))] for count in counts.tolist()]
    return np.array([[cut(_files(tallies, label), end) for end in row] for label, row in enumerate(ends)], np.uint64)


@dataclass(frozen=True)
class Balance:
    """How often a label's training rows are there: `times`, once more those with a key below `more`; `(labels,)`.

    `times` 0 leaves out all rows but those.
    """

    times: NDArray[np.int64]
    more: NDArray[np.uint64]


def balance_of(tallies: Sequence[Tally], kind: str) -> Balance:
    """Return what gives every label as many training rows as the most frequent (`over`) or the rarest (`under`) has."""
    counts = _total(tallies)
    found = counts[counts > 0] if counts.any() else counts
    wanted = found.max() if kind == "over" else found.min()
    times, rest = np.divmod(wanted, np.maximum(counts, 1))
    more = [cut(_files(tallies, label), int(rank)) for label, rank in enumerate(np.where(counts > 0, rest, 0))]
    return Balance(times, np.array(more, dtype=np.uint64))


def cut(files: Sequence[Path], rank: int) -> int:
    """Return the smallest key that at least `rank` keys of sorted files are below."""
    tallies = [np.load(path, mmap_mode="r") for path in files]
    low, high = 0, MAX_KEY
    while low < high:
        middle = (low + high) // 2
        if sum(int(np.searchsorted(keys, np.uint64(middle))) for keys in tallies) >= rank:
            high = middle
        else:
            low = middle + 1
    return low


def _total(tallies: Sequence[Tally]) -> NDArray[np.int64]:
    return np.sum([tally.counts for tally in tallies], axis=0)


def _files(tallies: Sequence[Tally], label: int) -> list[Path]:
    return [path for tally in tallies if (path := tally.files[label]) is not None]

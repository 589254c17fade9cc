"""Counts texts that stand several times, within and across sources; knows hashes and labels, no files."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Repeats:
    """What repeats among some rows; texts are equal here when they are equal once normalised."""

    repeated: int
    """Rows beyond the first of their text, of texts with one label."""
    matrix: NDArray[np.int64]
    """`(sources, sources)`: across, the texts that stand in both; on the diagonal, the rows that repeat a text of
    their own source. Texts with several labels count here as well."""
    conflicting_rows: NDArray[np.bool_]
    """`(rows,)`: whether the row's text stands with several labels."""
    conflicting_texts: int


def repeats_of(
    group: NDArray[np.intp], source: NDArray[np.intp], label: NDArray[np.intp], *, num_sources: int
) -> Repeats:
    """Count repeats in rows `(rows,)` whose `group` is the number of their text, equal numbers side by side."""
    num_rows = len(group)
    if not num_rows:
        return Repeats(0, np.zeros((num_sources, num_sources), dtype=np.int64), np.zeros(0, dtype=np.bool_), 0)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(starts, append=num_rows)
    conflicting = np.minimum.reduceat(label, starts) != np.maximum.reduceat(label, starts)
    groups = np.repeat(np.arange(len(starts)), sizes)
    return Repeats(
        int((sizes - 1)[~conflicting].sum()),
        _matrix(groups, source, num_sources),
        conflicting[groups],
        int(conflicting.sum()),
    )


def _matrix(group: NDArray[np.intp], source: NDArray[np.intp], num_sources: int) -> NDArray[np.int64]:
    pairs, counts = np.unique(group * num_sources + source, return_counts=True)
    groups, sources = pairs // num_sources, pairs % num_sources
    within = np.bincount(sources, weights=counts - 1, minlength=num_sources).astype(np.int64)
    # Only texts that stand in several sources are spread over columns.
    several = np.bincount(groups)[groups] > 1
    stands = np.zeros((len(np.unique(groups[several])), num_sources), dtype=np.int64)
    stands[np.unique(groups[several], return_inverse=True)[1], sources[several]] = 1
    matrix = stands.T @ stands
    np.fill_diagonal(matrix, within)
    return matrix

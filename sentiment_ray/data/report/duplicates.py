"""Counts texts that occur several times, within and across sources. Knows hashes and labels, no files."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Duplicates:
    """The rows of a table that share their text. Texts are equal here when they are equal once normalised."""

    num_repeated: int
    """Rows beyond the first of their text, of texts with one label."""
    source_pairs: NDArray[np.int64]
    """`(sources, sources)`: off the diagonal, the texts that occur in both sources; on it, the rows that repeat a text
    of their own source. Texts with several labels count as well."""
    is_conflicting: NDArray[np.bool_]
    """`(rows,)`: whether the row's text has several labels."""
    num_conflicting_texts: int


def count_duplicates(
    text: NDArray[np.intp], source: NDArray[np.intp], label: NDArray[np.intp], *, num_sources: int
) -> Duplicates:
    """Count duplicates among rows. `text` `(rows,)` is the number of each row's text; equal numbers are adjacent."""
    if not len(text):
        return Duplicates(0, np.zeros((num_sources, num_sources), dtype=np.int64), np.zeros(0, dtype=np.bool_), 0)
    starts = np.flatnonzero(np.diff(text, prepend=-1))
    sizes = np.diff(starts, append=len(text))
    has_conflict = np.minimum.reduceat(label, starts) != np.maximum.reduceat(label, starts)
    text = np.repeat(np.arange(len(starts)), sizes)
    return Duplicates(
        num_repeated=int((sizes - 1)[~has_conflict].sum()),
        source_pairs=_count_source_pairs(text, source, num_sources),
        is_conflicting=has_conflict[text],
        num_conflicting_texts=int(has_conflict.sum()),
    )


def _count_source_pairs(text: NDArray[np.intp], source: NDArray[np.intp], num_sources: int) -> NDArray[np.int64]:
    pairs, rows = np.unique(text * num_sources + source, return_counts=True)
    texts, sources = pairs // num_sources, pairs % num_sources
    repeated_within = np.bincount(sources, weights=rows - 1, minlength=num_sources).astype(np.int64)
    # The table of texts by sources holds only the texts of several sources, so it stays small.
    in_several = np.bincount(texts)[texts] > 1
    distinct, row = np.unique(texts[in_several], return_inverse=True)
    occurs = np.zeros((len(distinct), num_sources), dtype=np.int64)
    occurs[row, sources[in_several]] = 1
    source_pairs = occurs.T @ occurs
    np.fill_diagonal(source_pairs, repeated_within)
    return source_pairs

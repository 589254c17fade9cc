"""What becomes of each row of a bucket: a split, or none; pure functions of a table, which know no files.

Equal texts never stand in two splits, and no group either. Where the two are at odds, a row whose text belongs
elsewhere is a duplicate: it is never moved to where its group or its time does not belong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.hashing import (
    HASH_BYTES,
    TEST,
    TRAIN,
    VALIDATION,
    split_keys,
    split_of,
    split_of_groups,
    split_of_times,
    words_of,
)
from sentiment_ray.data.leakage_files import NO_FIXED_SPLIT, BucketMatches

OUTCOMES = (*SPLITS, "duplicates", "conflicting", "undersampled")
DUPLICATE, CONFLICTING, UNDERSAMPLED = (OUTCOMES.index(name) for name in OUTCOMES[len(SPLITS) :])


@dataclass(frozen=True)
class Settled:
    """What must be known of all rows before the first can be put into a split; empty where nothing must.

    `pinned_groups` are the hashes of groups in sources that are put into one split, by the place of it in SPLITS.
    `cuts` uint64 `(labels, 2)` are the keys of `split_keys` below which a row of a label is for the test, and below
    which for validation.
    """

    pinned_groups: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)
    cuts: NDArray[np.uint64] | None = None


@dataclass(frozen=True)
class Fates:
    """Of each row: `outcome`, its place in OUTCOMES, `(rows,)`; `copies`, the rows with its text before it, `(rows,)`;
    `is_drawn`, whether its split was drawn rather than given by a pinned source, `(rows,)`."""

    outcome: NDArray[np.intp]
    copies: NDArray[np.intp]
    is_drawn: NDArray[np.bool_]


def merge_pins(pins: Sequence[tuple[int, NDArray[np.int64]]]) -> dict[int, NDArray[np.int64]]:
    """Return the hashes of the groups that are put into each split, of those that parts of the rows had."""
    found: dict[int, list[NDArray[np.int64]]] = {}
    for split, groups in pins:
        found.setdefault(split, []).append(groups)
    return {split: np.unique(np.concatenate(parts)) for split, parts in found.items()}


def in_order(table: pa.Table, config: PrepareConfig) -> pa.Table:
    """Return the rows of a bucket by hash; of those with one text, the one that stays comes first.

    That is the first by source, file and row and, with split_by = time, the earliest: what comes later never takes the
    place of what was there.
    """
    low, high = hash_words(table).view("<u8").T
    keys = [table[name].to_numpy() for name in ("row", "file", "source")]
    if config.split_by == "time":
        keys.append(_keys(table))
    return table.take(pa.array(np.lexsort((*keys, low, high))))


def fates_of(table: pa.Table, config: PrepareConfig, settled: Settled, matches: BucketMatches) -> Fates:
    """Return what becomes of each row of a table that `in_order` has put in order.

    With `keep_together` the cluster of near duplicates that a text is in decides on its split.
    """
    words, label = hash_words(table), table["label"].to_numpy()
    if not len(words):
        nothing = np.zeros(0, dtype=np.intp)
        return Fates(nothing, nothing, nothing.astype(np.bool_))
    is_first = np.concatenate([[True], (words[1:] != words[:-1]).any(axis=1)])
    starts, text = np.flatnonzero(is_first), np.cumsum(is_first) - 1
    places = np.arange(len(words))
    conflicting = np.minimum.reduceat(label, starts) != np.maximum.reduceat(label, starts)
    pins = _pins(table, config, settled)
    # SPLITS stand in the order train, validation, test: of several pinned ones the last wins.
    pinned = np.maximum.reduceat(pins, starts)
    drawn = _drawn(table, words, label, config, settled)
    if config.keep_together:
        hashes = table["hash"].take(pa.array(starts)).combine_chunks()
        leaders, pinned = matches.fix_clusters(hashes, words[starts], pinned)
        drawn = split_of(leaders, validation_share=config.validation_share, test_share=config.test_share)[text]
    split = np.where(pinned == NO_FIXED_SPLIT, drawn[starts], pinned)[text]
    # Groups and times decide on rows, hashes on texts with all their rows.
    fits = np.where(pins == NO_FIXED_SPLIT, drawn, pins) == split
    fits |= config.split_by in ("hash", "stratified")
    first_that_fits = np.minimum.reduceat(np.where(fits, places, len(places)), starts)[text]
    stays = fits & ((places == first_that_fits) | config.keep_duplicates)
    outcome = np.where(conflicting[text], CONFLICTING, np.where(stays, split, DUPLICATE))
    return Fates(outcome, places - starts[text], pinned[text] == NO_FIXED_SPLIT)


def hash_words(table: pa.Table) -> NDArray[np.uint32]:
    """Return the hashes of a table as words `(rows, 4)`."""
    column = table["hash"].combine_chunks()
    raw = column.buffers()[1].to_pybytes() if len(column) else b""
    return words_of(raw[column.offset * HASH_BYTES : (column.offset + len(column)) * HASH_BYTES])


def _pins(table: pa.Table, config: PrepareConfig, settled: Settled) -> NDArray[np.intp]:
    """Return the split that each row's source, or its group in another source, is put into; NO_FIXED_SPLIT for none."""
    of_sources = [SPLITS.index(source.split) if source.split in SPLITS else NO_FIXED_SPLIT for source in config.sources]
    pins = np.array(of_sources)[table["source"].to_numpy()]
    if settled.pinned_groups:
        has_group, groups = table["key"].is_valid().to_numpy(), _keys(table)
        for split, pinned in settled.pinned_groups.items():
            pins = np.where(has_group & np.isin(groups, pinned), np.maximum(pins, split), pins)
    return pins


def _drawn(
    table: pa.Table, words: NDArray[np.uint32], label: NDArray[np.int32], config: PrepareConfig, settled: Settled
) -> NDArray[np.intp]:
    """Return the split that each row would have if no source were pinned; TRAIN while `cuts` are not known."""
    shares = {"validation_share": config.validation_share, "test_share": config.test_share}
    if config.split_by == "group":
        return split_of_groups(_keys(table), **shares)
    if config.split_by == "time":
        validation_from, test_from = config.bounds
        return split_of_times(_keys(table), validation_from=validation_from, test_from=test_from)
    if config.split_by == "stratified":
        if settled.cuts is None:
            return np.full(len(words), TRAIN)
        keys, cuts = split_keys(words), settled.cuts[label]
        return np.where(keys < cuts[:, 0], TEST, np.where(keys < cuts[:, 1], VALIDATION, TRAIN))
    return split_of(words, **shares)


def _keys(table: pa.Table) -> NDArray[np.int64]:
    """Return the hash of each row's group, or its time, `(rows,)`; 0 where a pinned source has none."""
    return table["key"].combine_chunks().fill_null(0).to_numpy()

"""Decides what becomes of each row: a split, or the reason why it gets none. No other module splits rows.

Equal texts never stand in two splits, and neither do rows of one group. Where a row's text and its group (or time) lead
to different splits, the row counts as a duplicate: no row is moved to a split that its group or its time rules out.
All functions here work on tables in memory; they know no files and no tasks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.hashing import DRAW_COLUMN, SPLIT_COLUMN, join_columns, read_hashes, to_fractions
from sentiment_ray.data.leakage_files import NO_FIXED_SPLIT, BucketMatches
from sentiment_ray.data.ranks import SortedKeys, count_by_label, find_keys_at_ranks

TRAIN, VALIDATION, TEST = range(len(SPLITS))
OUTCOMES = (*SPLITS, "duplicates", "conflicting", "undersampled")
"""Everything that can become of a good row, as prepared.json counts it."""
DUPLICATE, CONFLICTING, UNDERSAMPLED = (OUTCOMES.index(name) for name in OUTCOMES[len(SPLITS) :])


@dataclass(frozen=True)
class SplitContext:
    """What the split rule must know about all rows before it splits the first one; empty where it needs nothing."""

    fixed_groups: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)
    """Hashes of the groups in sources that are put into one split, by index in SPLITS."""
    label_cut_points: NDArray[np.uint64] | None = None
    """uint64 `(labels, 2)`, with split_by = stratified: a row of a label is for the test if its key is below the first
    cut point, and for validation if it is below the second."""


@dataclass(frozen=True)
class RowOutcomes:
    """What becomes of each row of a bucket; all arrays are `(rows,)`."""

    outcome: NDArray[np.intp]
    """Index in OUTCOMES."""
    copy_number: NDArray[np.intp]
    """Number of rows with the same text that come before this one."""
    is_by_rule: NDArray[np.bool_]
    """Whether the split rule chose the split; False if a source fixes it."""


@dataclass(frozen=True)
class SplitRule:
    """A value of split_by."""

    choose: Callable[[pa.Table, NDArray[np.uint32], PrepareConfig, SplitContext], NDArray[np.intp]]
    """From a bucket's rows, the hashes of their texts, the keys and the context to an index in SPLITS: `(rows,)`."""
    is_by_text: bool
    """Whether equal (normalised) texts always get the same split. If not, the rule decides for each row alone: a row is
    a duplicate where the rule and the split of its text differ."""


def list_requested_splits(config: PrepareConfig) -> set[str]:
    """Return the splits that must have rows: those with a share, a starting day, or a source of their own."""
    if config.split_by == "time":
        starts = {"validation": config.validation_from, "test": config.test_from}
        chosen = {split for split, start in starts.items() if start is not None}
    else:
        shares = {"validation": config.validation_share, "test": config.test_share}
        chosen = {split for split, share in shares.items() if share > 0}
    return {"train"} | chosen | {source.split for source in config.sources if source.split in SPLITS}


def merge_fixed_groups(parts: Sequence[tuple[int, NDArray[np.int64]]]) -> dict[int, NDArray[np.int64]]:
    """Return the group hashes of each split, from pairs of a split's index and hashes."""
    merged: dict[int, list[NDArray[np.int64]]] = {}
    for split, groups in parts:
        merged.setdefault(split, []).append(groups)
    return {split: np.unique(np.concatenate(groups)) for split, groups in merged.items()}


def sort_rows(table: pa.Table, config: PrepareConfig) -> pa.Table:
    """Return the rows of a bucket sorted by hash; of the rows with one text, the one to keep comes first.

    That is the first one by source, file and row or, with split_by = time, the earliest one: a later row never replaces
    an earlier one.
    """
    low, high = read_hashes(table["hash"]).view("<u8").T
    keys = [table[name].to_numpy() for name in ("row", "file", "source")]
    if config.split_by == "time":
        keys.append(_read_split_values(table))
    return table.take(pa.array(np.lexsort((*keys, low, high))))


def assign_splits(table: pa.Table, config: PrepareConfig, context: SplitContext, matches: BucketMatches) -> RowOutcomes:
    """Return what becomes of each row of a table that `sort_rows` has sorted.

    With `keep_together`, the cluster of near duplicates that a text belongs to decides on its split.
    """
    hashes, label = read_hashes(table["hash"]), table["label"].to_numpy()
    if not len(hashes):
        nothing = np.zeros(0, dtype=np.intp)
        return RowOutcomes(nothing, nothing, nothing.astype(np.bool_))
    is_first = np.concatenate([[True], (hashes[1:] != hashes[:-1]).any(axis=1)])
    first_rows, text = np.flatnonzero(is_first), np.cumsum(is_first) - 1
    rows = np.arange(len(hashes))
    has_conflict = np.minimum.reduceat(label, first_rows) != np.maximum.reduceat(label, first_rows)
    fixed_by_row = _find_fixed_splits(table, config, context)
    # SPLITS are in the order train, validation, test: of several fixed splits the last one wins.
    fixed_by_text = np.maximum.reduceat(fixed_by_row, first_rows)
    rule = RULES[config.split_by]
    chosen = rule.choose(table, hashes, config, context)
    if config.keep_together:
        texts = table["hash"].take(pa.array(first_rows)).combine_chunks()
        leaders, fixed_by_text = matches.fix_clusters(texts, hashes[first_rows], fixed_by_text)
        chosen = split_by_hash(leaders, validation_share=config.validation_share, test_share=config.test_share)[text]
    split = np.where(fixed_by_text == NO_FIXED_SPLIT, chosen[first_rows], fixed_by_text)[text]
    may_stay = np.where(fixed_by_row == NO_FIXED_SPLIT, chosen, fixed_by_row) == split
    may_stay |= rule.is_by_text
    first_to_stay = np.minimum.reduceat(np.where(may_stay, rows, len(rows)), first_rows)[text]
    is_kept = may_stay & ((rows == first_to_stay) | config.keep_duplicates)
    outcome = np.where(has_conflict[text], CONFLICTING, np.where(is_kept, split, DUPLICATE))
    return RowOutcomes(outcome, rows - first_rows[text], fixed_by_text[text] == NO_FIXED_SPLIT)


def split_by_hash(hashes: NDArray[np.uint32], *, validation_share: float, test_share: float) -> NDArray[np.intp]:
    """Return the index in SPLITS for each hash: `(hashes,)`.

    It depends on the hash and the shares alone, so new rows never move old ones.
    """
    return _split_fractions(to_fractions(hashes, SPLIT_COLUMN), validation_share, test_share)


def split_by_group(group_hashes: NDArray[np.int64], *, validation_share: float, test_share: float) -> NDArray[np.intp]:
    """Return the index in SPLITS for each hash of a group: `(rows,)`. It does not depend on the other groups."""
    return _split_fractions(group_hashes.view(np.uint64) / 2**64, validation_share, test_share)


def split_by_time(times: NDArray[np.int64], *, validation_from: int, test_from: int) -> NDArray[np.intp]:
    """Return the index in SPLITS for each time: `(rows,)`. All times are microseconds since 1970."""
    return np.where(times >= test_from, TEST, np.where(times >= validation_from, VALIDATION, TRAIN))


def split_by_rank(keys: NDArray[np.uint64], cut_points: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Return the index in SPLITS for each key, `(rows,)`, by the cut points of its label, `(rows, 2)`."""
    return np.where(keys < cut_points[:, 0], TEST, np.where(keys < cut_points[:, 1], VALIDATION, TRAIN))


def needs_label_cut_points(config: PrepareConfig) -> bool:
    """Whether the rows of all buckets must be ranked before the first bucket is split."""
    return config.split_by == "stratified"


def select_rows_to_rank(table: pa.Table, outcomes: RowOutcomes) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return the keys by which rows are ranked, and whether each row is ranked; both `(rows,)`.

    The rows to rank are those whose split the rule chooses. `outcomes` come from a context without cut points.
    """
    return _compute_rank_keys(read_hashes(table["hash"])), outcomes.is_by_rule & (outcomes.outcome < len(SPLITS))


def find_label_cut_points(buckets: Sequence[SortedKeys], config: PrepareConfig) -> NDArray[np.uint64]:
    """Return the cut points of SplitContext: uint64 `(labels, 2)`.

    Each split gets its share of every label's rows, exact to one row. New rows change the cut points, so rows whose
    keys are close to one may move to another split.
    """
    held_out = (config.test_share, config.test_share + config.validation_share)
    ranks = [[round(count * share) for share in held_out] for count in count_by_label(buckets).tolist()]
    return find_keys_at_ranks(buckets, np.array(ranks))


def _choose_by_hash(
    table: pa.Table, hashes: NDArray[np.uint32], config: PrepareConfig, context: SplitContext
) -> NDArray[np.intp]:
    return split_by_hash(hashes, validation_share=config.validation_share, test_share=config.test_share)


def _choose_by_group(
    table: pa.Table, hashes: NDArray[np.uint32], config: PrepareConfig, context: SplitContext
) -> NDArray[np.intp]:
    shares = {"validation_share": config.validation_share, "test_share": config.test_share}
    return split_by_group(_read_split_values(table), **shares)


def _choose_by_time(
    table: pa.Table, hashes: NDArray[np.uint32], config: PrepareConfig, context: SplitContext
) -> NDArray[np.intp]:
    validation_from, test_from = config.split_times
    return split_by_time(_read_split_values(table), validation_from=validation_from, test_from=test_from)


def _choose_by_rank(
    table: pa.Table, hashes: NDArray[np.uint32], config: PrepareConfig, context: SplitContext
) -> NDArray[np.intp]:
    """Return TRAIN for every row while the cut points are unknown."""
    if context.label_cut_points is None:
        return np.full(len(hashes), TRAIN)
    return split_by_rank(_compute_rank_keys(hashes), context.label_cut_points[table["label"].to_numpy()])


def _find_fixed_splits(table: pa.Table, config: PrepareConfig, context: SplitContext) -> NDArray[np.intp]:
    """Return the split that each row's source is put into, or its group by another source; else NO_FIXED_SPLIT."""
    source_fixed = [
        SPLITS.index(source.split) if source.split in SPLITS else NO_FIXED_SPLIT for source in config.sources
    ]
    fixed = np.array(source_fixed)[table["source"].to_numpy()]
    if context.fixed_groups:
        has_group, groups = table["split_value"].is_valid().to_numpy(), _read_split_values(table)
        for split, fixed_groups in context.fixed_groups.items():
            fixed = np.where(has_group & np.isin(groups, fixed_groups), np.maximum(fixed, split), fixed)
    return fixed


def _split_fractions(fraction: NDArray[np.float64], validation_share: float, test_share: float) -> NDArray[np.intp]:
    return np.where(fraction < test_share, TEST, np.where(fraction < test_share + validation_share, VALIDATION, TRAIN))


def _compute_rank_keys(hashes: NDArray[np.uint32]) -> NDArray[np.uint64]:
    return join_columns(hashes[:, SPLIT_COLUMN], hashes[:, DRAW_COLUMN])


def _read_split_values(table: pa.Table) -> NDArray[np.int64]:
    """Return the hash of each row's group, or its time, `(rows,)`; 0 where a source with a fixed split has none."""
    return table["split_value"].combine_chunks().fill_null(0).to_numpy()


RULES = {
    "hash": SplitRule(_choose_by_hash, is_by_text=True),
    "group": SplitRule(_choose_by_group, is_by_text=False),
    "time": SplitRule(_choose_by_time, is_by_text=False),
    "stratified": SplitRule(_choose_by_rank, is_by_text=True),
}
"""Every value of split_by. A new rule is a function and an entry here, and its name in `split_by` of data/config.py."""

"""Repeats, leaves out and alters training rows; sees the rows of one bucket, and only keys of the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentiment_ray.data.augmentation import alter_text
from sentiment_ray.data.config import Augment, PrepareConfig
from sentiment_ray.data.hashing import (
    BUCKET_COLUMN,
    DRAW_COLUMN,
    SAMPLE_COLUMN,
    SPLIT_COLUMN,
    assign_buckets,
    hash_texts,
    join_columns,
    read_hashes,
)
from sentiment_ray.data.ranks import SortedKeys, count_by_label, find_keys_at_ranks

EXTRAS = ("copies", "augmented")
"""Training rows that are in no source, as prepared.json counts them."""
COPY_SUFFIX, AUGMENTED_SUFFIX = "#copy-", "#augmented"
"""Endings of the ids of rows that are in no source."""


@dataclass(frozen=True)
class Balance:
    """How often each training row is written; both arrays are `(labels,)`.

    A row of a label is written `times` times, and once more if its key is below `once_more_below`. With `times` = 0,
    all other rows are left out.
    """

    times: NDArray[np.int64]
    once_more_below: NDArray[np.uint64]


@dataclass(frozen=True)
class TrainingRows:
    """The training rows of a bucket as they are written, and how they were made."""

    rows: pa.Table
    times: NDArray[np.int64]
    """`(input rows,)`: how often each input row is written."""
    extras: NDArray[np.int64]
    """`(sources, EXTRAS)`: the number of added rows."""


def compute_balance(buckets: Sequence[SortedKeys], balance: str) -> Balance:
    """Return what gives each label as many training rows as the most frequent (`over`) or rarest (`under`) one has."""
    counts = count_by_label(buckets)
    present = counts[counts > 0] if counts.any() else counts
    target = present.max() if balance == "over" else present.min()
    times, rest = np.divmod(target, np.maximum(counts, 1))
    ranks = np.where(counts > 0, rest, 0)
    return Balance(times, find_keys_at_ranks(buckets, ranks[:, None])[:, 0])


def make_training_rows(
    rows: pa.Table,
    keys: NDArray[np.uint64],
    config: PrepareConfig,
    balance: Balance | None,
    known_texts: Sequence[Path | None],
    *,
    bucket: int,
) -> TrainingRows:
    """Return a bucket's training rows after balancing and augmenting, in an order drawn with the seed.

    `keys` `(rows,)` come from `compute_training_keys`. `known_texts` has for each bucket the file of the sorted keys of
    its texts.
    """
    times, sources = np.ones(len(rows), dtype=np.int64), rows["source"].to_numpy()
    if balance:
        label = rows["label"].to_numpy()
        times = balance.times[label] + (keys < balance.once_more_below[label])
    extras = np.zeros((len(config.sources), len(EXTRAS)), dtype=np.int64)
    np.add.at(extras[:, 0], sources, np.maximum(times - 1, 0))
    result = _repeat_rows(rows, times)
    if config.augment:
        added = _make_altered_rows(result, config.augment, seed=config.seed, known_texts=known_texts)
        np.add.at(extras[:, 1], added["source"].to_numpy(), 1)
        result = pa.concat_tables([result, added])
    order = np.random.default_rng([config.seed % 2**32, bucket]).permutation(len(result))
    return TrainingRows(result.combine_chunks().take(pa.array(order)), times, extras)


def compute_training_keys(hashes: NDArray[np.uint32], copy_number: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Return the keys by which training rows are chosen: `(rows,)`. `copy_number` tells rows with one text apart."""
    return join_columns(hashes[:, DRAW_COLUMN], hashes[:, BUCKET_COLUMN] + copy_number.astype(np.uint32))


def compute_text_keys(hashes: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return the keys by which a text is looked up among the texts of its bucket: `(hashes,)`."""
    return join_columns(hashes[:, SPLIT_COLUMN], hashes[:, SAMPLE_COLUMN])


def _repeat_rows(table: pa.Table, times: NDArray[np.int64]) -> pa.Table:
    """Return each row as often as `times` says; the ids of repeated rows end in #copy-1, #copy-2, ..."""
    rows = np.repeat(np.arange(len(table)), times)
    number = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
    result = table.take(pa.array(rows))
    ids = [
        f"{row_id}{COPY_SUFFIX}{copy}" if copy else row_id
        for row_id, copy in zip(result["id"].to_pylist(), number, strict=True)
    ]
    return _replace_column(result, "id", ids)


def _make_altered_rows(table: pa.Table, augment: Augment, *, seed: int, known_texts: Sequence[Path | None]) -> pa.Table:
    """Return altered copies of a share of the rows; their ids end in #augmented.

    The draw depends on a row's hash, its id and the seed. A copy that equals another text of the sources is left out,
    since that text may be in another split.
    """
    digests = [row.tobytes() for row in read_hashes(table["hash"])]
    rows, copies = [], []
    for row, (row_id, text) in enumerate(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True)):
        random = Random(b"%d " % seed + digests[row] + row_id.encode())
        copy = alter_text(text, augment.operations, random) if random.random() < augment.share else None
        if copy is not None:
            rows.append(row)
            copies.append(copy)
    hashes = hash_texts(copies, seed=seed)
    equals_original = np.array(
        [each.tobytes() == digests[row] for each, row in zip(hashes, rows, strict=True)], dtype=np.bool_
    )
    kept = np.flatnonzero(equals_original | ~_are_known(hashes, known_texts))
    result = table.take(pa.array(np.array(rows, dtype=np.int64)[kept]))
    ids = [f"{row_id}{AUGMENTED_SUFFIX}" for row_id in result["id"].to_pylist()]
    return _replace_column(_replace_column(result, "id", ids), "text", [copies[index] for index in kept])


def _are_known(hashes: NDArray[np.uint32], known_texts: Sequence[Path | None]) -> NDArray[np.bool_]:
    """Return whether each hash belongs to a text of the sources: `(hashes,)`."""
    is_known = np.zeros(len(hashes), dtype=np.bool_)
    buckets, keys = assign_buckets(hashes, len(known_texts)), compute_text_keys(hashes)
    for bucket in np.unique(buckets):
        path = known_texts[bucket]
        if path is not None:
            known_keys, in_bucket = np.load(path, mmap_mode="r"), buckets == bucket
            index = np.minimum(np.searchsorted(known_keys, keys[in_bucket]), len(known_keys) - 1)
            is_known[in_bucket] = known_keys[index] == keys[in_bucket]
    return is_known


def _replace_column(table: pa.Table, name: str, values: list[str]) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values, pa.string()))

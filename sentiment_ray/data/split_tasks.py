"""The last rounds of tasks: each takes one bucket, to write the keys that all buckets are ranked by, or its splits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sentiment_ray.data.balance import EXTRAS, compute_text_keys, compute_training_keys, make_training_rows
from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.copied_columns import COLUMN, append_columns
from sentiment_ray.data.hashing import read_hashes
from sentiment_ray.data.job import PrepareJob
from sentiment_ray.data.leakage_files import read_bucket_matches
from sentiment_ray.data.ranks import SortedKeys, write_sorted_keys
from sentiment_ray.data.report.bucket_stats import BucketStats, collect_stats
from sentiment_ray.data.shuffle import BUCKETS_DIRECTORY, read_bucket
from sentiment_ray.data.split import OUTCOMES, TRAIN, UNDERSAMPLED, assign_splits, select_rows_to_rank, sort_rows

ROWS_PER_ROW_GROUP = 16_384


@dataclass(frozen=True)
class SplitReport:
    """What became of the rows of a bucket. The rows in `extras` are also counted in the two other arrays."""

    outcomes: NDArray[np.int64]
    """`(sources, OUTCOMES)`"""
    extras: NDArray[np.int64]
    """`(sources, EXTRAS)`: training rows that are in no source."""
    labels: NDArray[np.int64]
    """`(splits, labels)`"""
    stats: BucketStats


def write_keys(
    job: PrepareJob, bucket: int, bucket_files: Sequence[Path], kind: Literal["splits", "train", "texts"]
) -> SortedKeys:
    """Write the sorted keys of a bucket's rows by label: of the rows to rank for `splits`, or of the `train` rows.

    `texts` writes the keys of all rows as if they had one label.
    """
    table = sort_rows(read_bucket(bucket_files, bucket).combine_chunks(), job.config)
    hashes, label = read_hashes(table["hash"]), table["label"].to_numpy()
    directory = job.directory / BUCKETS_DIRECTORY
    if kind == "texts":
        return write_sorted_keys(directory, kind, bucket, compute_text_keys(hashes), np.zeros_like(label), num_labels=1)
    outcomes = assign_splits(table, job.config, job.split_context, read_bucket_matches(job.directory, bucket))
    if kind == "splits":
        keys, is_chosen = select_rows_to_rank(table, outcomes)
    else:
        keys, is_chosen = compute_training_keys(hashes, outcomes.copy_number), outcomes.outcome == TRAIN
    num_labels = len(job.config.labels)
    return write_sorted_keys(directory, kind, bucket, keys[is_chosen], label[is_chosen], num_labels=num_labels)


def write_splits(job: PrepareJob, bucket: int, bucket_files: Sequence[Path]) -> SplitReport:
    """Remove a bucket's duplicates and conflicts, and write its rows as one Parquet part for each split.

    The rows are in the order of their hashes: shuffled, and in the same order on every machine.
    """
    config = job.config
    table = sort_rows(read_bucket(bucket_files, bucket).combine_chunks(), config)
    matches = read_bucket_matches(job.directory, bucket)
    outcomes = assign_splits(table, config, job.split_context, matches)
    outcome, source = outcomes.outcome.copy(), table["source"].to_numpy()
    labels = np.zeros((len(SPLITS), len(config.labels)), dtype=np.int64)
    counts = np.zeros((len(config.sources), len(OUTCOMES)), dtype=np.int64)
    extras = np.zeros((len(config.sources), len(EXTRAS)), dtype=np.int64)
    for split, name in enumerate(SPLITS):
        in_split = outcome == split
        rows = table.filter(pa.array(in_split))
        if split == TRAIN and (job.balance or config.augment):
            keys = compute_training_keys(read_hashes(rows["hash"]), outcomes.copy_number[in_split])
            training = make_training_rows(rows, keys, config, job.balance, job.known_texts, bucket=bucket)
            rows, extras = training.rows, training.extras
            outcome[np.flatnonzero(in_split)[training.times == 0]] = UNDERSAMPLED
            counts[:, TRAIN] += extras.sum(axis=1)
        labels[split] = np.bincount(rows["label"].to_numpy(), minlength=len(config.labels))
        if len(rows) and not config.check:
            _write_part(rows, config, job.directory / name / f"part-{bucket:05d}.parquet")
    np.add.at(counts, (source, outcome), 1)
    stats = collect_stats(table, outcome, config=config, matches=matches, sampled_shares=job.sampled_shares)
    return SplitReport(counts, extras, labels, stats)


def _write_part(table: pa.Table, config: PrepareConfig, path: Path) -> None:
    names = pa.array([source.name for source in config.sources], pa.string())
    labels = pa.array(config.labels, pa.string())
    columns = {
        "id": table["id"],
        "text": table["text"],
        "label": labels.take(table["label"].combine_chunks()),
        "source": names.take(table["source"].combine_chunks()),
    }
    # Parents are not made: a task that outlives its failed job must not bring the output back.
    path.parent.mkdir(exist_ok=True)
    rows = pa.table(columns)
    if COLUMN in table.column_names:
        rows = append_columns(rows, table[COLUMN])
    pq.write_table(rows, path, compression="zstd", row_group_size=ROWS_PER_ROW_GROUP)

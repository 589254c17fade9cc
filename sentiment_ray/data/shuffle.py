"""The tasks of prepare_reviews: raw rows to bucket files, and a bucket to its splits; knows no cluster.

A bucket holds every row of its texts, so that duplicates and contradictions are found in one bucket at a time. Rows go
from the first task to the second through Arrow files on disk, with one record batch for each bucket. Where a share must
be exact, or a text must be new, buckets are tallied in between. What comes out depends on the rows alone, never on how
many tasks there were or in what order they ran.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sentiment_ray.data.balance import EXTRAS, training_rows
from sentiment_ray.data.config import SPLITS, PrepareConfig, Source
from sentiment_ray.data.hashing import (
    HASH_BYTES,
    TRAIN,
    bucket_of,
    hash_groups,
    hash_texts,
    in_sample,
    split_keys,
    text_keys,
    train_keys,
)
from sentiment_ray.data.leakage_files import read_bucket_matches
from sentiment_ray.data.ranks import Balance, Tally, write_tally
from sentiment_ray.data.readers.rows import read_unit
from sentiment_ray.data.readers.units import Unit
from sentiment_ray.data.report.bucket_stats import BucketStats, SampledShares, collect_stats
from sentiment_ray.data.split import OUTCOMES, UNDERSAMPLED, Settled, fates_of, hash_words, in_order, merge_pins
from sentiment_ray.data.validate import check_rows, clean_texts, ratings_of
from sentiment_ray.errors import DataError

FLUSH_BYTES = 64 << 20
ROWS_PER_GROUP = 16_384
BUCKETS_DIRECTORY = "_buckets"
OTHER_REASONS = "other"
MOST_REASONS_BY_NAME = 1000
"""Different reasons that a task counts by name: a wrong label column has another one in every row."""
GOOD_SCHEMA = pa.schema(
    [("hash", pa.binary(HASH_BYTES)), ("source", pa.int32()), ("file", pa.int32()), ("row", pa.int64())]
    + [("id", pa.string()), ("text", pa.string()), ("label", pa.int32()), ("key", pa.int64()), ("rating", pa.float64())]
)
REJECTED_COLUMNS = ("source", "file", "row", "reason")


@dataclass(frozen=True)
class Plan:
    """What every task is told."""

    config: PrepareConfig
    directory: Path
    """Where all is written; on a disk that every node of the cluster sees."""
    num_buckets: int
    settled: Settled = field(default_factory=Settled)
    balance: Balance | None = None
    texts: tuple[Path | None, ...] = ()
    """The tally of every bucket's texts, where altered copies must differ from them."""
    sampled_shares: SampledShares = SampledShares()


@dataclass
class Collected:
    """What became of the rows of some units; the arrays are `(sources,)`, `cleaned` `(steps,)`."""

    number: int
    rows_in: NDArray[np.int64]
    rejected: NDArray[np.int64]
    left_out: NDArray[np.int64]
    cleaned: NDArray[np.int64]
    """Rows that each step of cleaning changed."""
    pinned_groups: list[tuple[int, NDArray[np.int64]]] = field(default_factory=list)
    """Hashes of groups in sources that are put into one split, with the place of the split in SPLITS."""
    bucket_files: list[Path] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    """Where the first row with each reason stands."""


@dataclass(frozen=True)
class Divided:
    """What became of the rows of a bucket: `outcomes` `(sources, outcomes)`, `labels` `(splits, labels)`.

    `extras` `(sources, extras)` are the training rows beyond those of the sources; both others count them as well.
    """

    outcomes: NDArray[np.int64]
    extras: NDArray[np.int64]
    labels: NDArray[np.int64]
    stats: BucketStats


def collect(plan: Plan, number: int, units: Sequence[Unit]) -> Collected:
    """Read and check units; write good rows to bucket files and defective ones to `rejected/`.

    `number` names the files, so that a task that is run again replaces what it wrote. DataError for a damaged file.
    """
    rows_in, rejected, left_out = np.zeros((3, len(plan.config.sources)), dtype=np.int64)
    result = Collected(number, rows_in, rejected, left_out, np.zeros(len(plan.config.clean), dtype=np.int64))
    good: list[pa.Table] = []
    with ExitStack() as stack:
        rejected_file = None
        for unit, table, words, changed in _checked_tables(plan.config, units):
            source = plan.config.sources[unit.source]
            sampled = in_sample(words, source.share)
            is_good = pc.is_null(table["reason"]).to_numpy()
            rejected = table.filter(pa.array(sampled & ~is_good)).select(REJECTED_COLUMNS)
            result.rows_in[unit.source] += sampled.sum()
            result.left_out[unit.source] += len(table) - sampled.sum()
            result.rejected[unit.source] += len(rejected)
            result.cleaned += changed[sampled].sum(axis=0)
            if len(rejected):
                rejected_file = rejected_file or stack.enter_context(_rejected_file(plan, number))
                rejected_file.write_table(rejected)
                _count_reasons(rejected, result)
            good.append(_good_columns(table, words, unit, plan.config).filter(pa.array(sampled & is_good)))
            if source.group_column and source.split != "auto":
                groups = good[-1]["key"].drop_null().unique().to_numpy()
                result.pinned_groups.append((SPLITS.index(source.split), groups))
            if sum(kept.nbytes for kept in good) > FLUSH_BYTES:
                result.bucket_files.append(_write_buckets(plan, good, f"{number:05d}-{len(result.bucket_files):05d}"))
                good = []
    if good:
        result.bucket_files.append(_write_buckets(plan, good, f"{number:05d}-{len(result.bucket_files):05d}"))
    result.pinned_groups = list(merge_pins(result.pinned_groups).items())
    return result


def divide(plan: Plan, bucket: int, bucket_files: Sequence[Path]) -> Divided:
    """Remove duplicates and contradictions from a bucket and write its rows as one part of each split.

    Rows stand in the order of their hashes: shuffled, and in the same order on every machine.
    """
    config = plan.config
    table = _read_bucket_files(bucket_files, bucket, config)
    matches = read_bucket_matches(plan.directory, bucket)
    fates = fates_of(table, config, plan.settled, matches)
    outcome, source = fates.outcome.copy(), table["source"].to_numpy()
    labels = np.zeros((len(SPLITS), len(config.labels)), dtype=np.int64)
    counts = np.zeros((len(config.sources), len(OUTCOMES)), dtype=np.int64)
    extras = np.zeros((len(config.sources), len(EXTRAS)), dtype=np.int64)
    for split, name in enumerate(SPLITS):
        is_here = outcome == split
        rows = table.filter(pa.array(is_here))
        if split == TRAIN and (plan.balance or config.augment):
            keys = train_keys(hash_words(rows), fates.copies[is_here])
            rows, times, extras = training_rows(rows, keys, config, plan.balance, plan.texts, bucket=bucket)
            outcome[np.flatnonzero(is_here)[times == 0]] = UNDERSAMPLED
            counts[:, TRAIN] += extras.sum(axis=1)
        labels[split] = np.bincount(rows["label"].to_numpy(), minlength=len(config.labels))
        if len(rows) and not config.check:
            _write_part(rows, config, plan.directory / name / f"part-{bucket:05d}.parquet")
    np.add.at(counts, (source, outcome), 1)
    stats = collect_stats(table, outcome, config=config, matches=matches, sampled_shares=plan.sampled_shares)
    return Divided(counts, extras, labels, stats)


def tally(plan: Plan, bucket: int, bucket_files: Sequence[Path], what: Literal["splits", "train", "texts"]) -> Tally:
    """Write the sorted keys of a bucket, by label, that all buckets must be known by before they are divided.

    `splits` are the rows whose split is drawn, `train` the training rows, `texts` all texts, as if of one label.
    """
    table = _read_bucket_files(bucket_files, bucket, plan.config)
    words, label = hash_words(table), table["label"].to_numpy()
    directory = plan.directory / BUCKETS_DIRECTORY
    if what == "texts":
        return write_tally(directory, what, bucket, text_keys(words), np.zeros_like(label), num_labels=1)
    fates = fates_of(table, plan.config, plan.settled, read_bucket_matches(plan.directory, bucket))
    if what == "splits":
        keys, chosen = split_keys(words), fates.is_drawn & (fates.outcome < len(SPLITS))
    else:
        keys, chosen = train_keys(words, fates.copies), fates.outcome == TRAIN
    return write_tally(directory, what, bucket, keys[chosen], label[chosen], num_labels=len(plan.config.labels))


def _checked_tables(
    config: PrepareConfig, units: Sequence[Unit]
) -> Iterator[tuple[Unit, pa.Table, NDArray[np.uint32], NDArray[np.bool_]]]:
    """Yield tables with their reasons and hashes; a row whose text is null or blank is known by its id instead.

    With them comes which rows each step of cleaning changed, `(rows, steps)`.
    """
    for unit in units:
        source = config.sources[unit.source]
        for raw in read_unit(unit, source):
            cleaned, changed = clean_texts(raw, config.clean)
            table = check_rows(
                cleaned,
                labels=config.labels,
                label_map=source.mapping,
                cut_points=source.cut_points,
                needed=_needed(source),
            )
            table = table.append_column("rating", ratings_of(raw["label"], source.mapping))
            has_text = pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(table["text"])), 0)
            identities = pc.if_else(pc.fill_null(has_text, False), table["text"], table["id"]).to_pylist()
            yield unit, table, hash_texts(identities, seed=config.seed), changed


def _needed(source: Source) -> str | None:
    """Return the column of reading.SCHEMA that a row of the source must have a value in."""
    if source.split != "auto" or not source.key_column:
        return None
    return "group" if source.group_column else "time"


def _good_columns(table: pa.Table, words: NDArray[np.uint32], unit: Unit, config: PrepareConfig) -> pa.Table:
    hashes = pa.Array.from_buffers(GOOD_SCHEMA.field("hash").type, len(words), [None, pa.py_buffer(words.tobytes())])
    label = pc.index_in(table["label"], pa.array(config.labels, pa.string()))
    source, file = (pa.repeat(pa.scalar(place, pa.int32()), len(table)) for place in (unit.source, unit.file))
    key = table["time"]
    if config.sources[unit.source].group_column:
        groups = table["group"].combine_chunks()
        key = pa.array(hash_groups(groups.to_pylist(), seed=config.seed), mask=groups.is_null().to_numpy(False))
    columns = [hashes, source, file, table["row"], table["id"], table["text"], label, key, table["rating"]]
    return pa.table(columns, schema=GOOD_SCHEMA)


def _count_reasons(rejected: pa.Table, result: Collected) -> None:
    for file, row, reason in zip(*(rejected[name].to_pylist() for name in ("file", "row", "reason")), strict=True):
        if reason not in result.reasons and len(result.reasons) >= MOST_REASONS_BY_NAME:
            reason = OTHER_REASONS
        result.reasons[reason] += 1
        result.examples.setdefault(reason, f"{file}, row {row}")


def _rejected_file(plan: Plan, number: int) -> pq.ParquetWriter:
    path = _with_parent(plan.directory / "rejected" / f"part-{number:05d}.parquet")
    types = [("source", pa.string()), ("file", pa.string()), ("row", pa.int64()), ("reason", pa.string())]
    return pq.ParquetWriter(path, pa.schema(types), compression="zstd")


def _write_buckets(plan: Plan, tables: list[pa.Table], name: str) -> Path:
    """Write rows to one file with as many record batches as there are buckets."""
    table = pa.concat_tables(tables).combine_chunks()
    buckets = bucket_of(hash_words(table), plan.num_buckets)
    table = table.take(pa.array(np.argsort(buckets, kind="stable"))).combine_chunks()
    ends = np.cumsum(np.bincount(buckets, minlength=plan.num_buckets))
    path = _with_parent(plan.directory / BUCKETS_DIRECTORY / f"{name}.arrow")
    with pa.ipc.new_file(path, GOOD_SCHEMA, options=pa.ipc.IpcWriteOptions(compression="lz4")) as file:
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            batches = table.slice(start, end - start).to_batches()
            file.write_batch(batches[0] if batches else pa.RecordBatch.from_pylist([], schema=GOOD_SCHEMA))
    return path


def _read_bucket_files(paths: Sequence[Path], bucket: int, config: PrepareConfig) -> pa.Table:
    return in_order(pa.concat_tables([read_bucket(path, bucket) for path in paths]).combine_chunks(), config)


def read_bucket(path: Path, bucket: int) -> pa.Table:
    """Read the rows of a bucket from a file of all buckets; DataError when this node does not see it."""
    try:
        with pa.memory_map(str(path)) as file:
            return pa.Table.from_batches([pa.ipc.open_file(file).get_batch(bucket)])
    except FileNotFoundError:
        raise DataError(
            f"{path} was written by one node of the cluster and is not seen by another. "
            "Name an output on storage that all nodes share."
        ) from None


def _write_part(table: pa.Table, config: PrepareConfig, path: Path) -> None:
    names = pa.array([source.name for source in config.sources], pa.string())
    labels = pa.array(config.labels, pa.string())
    columns = {
        "id": table["id"],
        "text": table["text"],
        "label": labels.take(table["label"].combine_chunks()),
        "source": names.take(table["source"].combine_chunks()),
    }
    pq.write_table(pa.table(columns), _with_parent(path), compression="zstd", row_group_size=ROWS_PER_GROUP)


def _with_parent(path: Path) -> Path:
    # Not the parents: a task that outlives a job that failed must not bring its output back.
    path.parent.mkdir(exist_ok=True)
    return path

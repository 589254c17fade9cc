"""The two tasks of prepare_reviews: raw rows to bucket files, and a bucket to its splits; knows no cluster.

A bucket holds every row of its texts, so that duplicates and contradictions are found in one bucket at a time. Rows go
from the first task to the second through Arrow files on disk, with one record batch for each bucket. What comes out
depends on the rows alone, never on how many tasks there were or in what order they ran.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sentiment_ray.data.checking import check_rows, ratings_of
from sentiment_ray.data.checks.relations import Relations, relations_of
from sentiment_ray.data.checks.survey import Looking, Survey, survey_bucket
from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.reading import read_unit
from sentiment_ray.data.splitting import HASH_BYTES, bucket_of, hash_texts, in_sample, split_of, words_of
from sentiment_ray.data.units import Unit
from sentiment_ray.errors import DataError

FLUSH_BYTES = 64 << 20
ROWS_PER_GROUP = 16_384
BUCKETS_DIRECTORY = "_buckets"
OUTCOMES = (*SPLITS, "duplicates", "conflicting")
DUPLICATE, CONFLICTING = OUTCOMES.index("duplicates"), OUTCOMES.index("conflicting")
NOT_PINNED = -1
OTHER_REASONS = "other"
MOST_REASONS = 1000
"""Different reasons that a task counts by name: a wrong label column has another one in every row."""
GOOD_SCHEMA = pa.schema(
    [("hash", pa.binary(HASH_BYTES)), ("source", pa.int32()), ("file", pa.int32()), ("row", pa.int64())]
    + [("id", pa.string()), ("text", pa.string()), ("label", pa.int32()), ("rating", pa.float64())]
)
REJECTED_COLUMNS = ("source", "file", "row", "reason")


@dataclass(frozen=True)
class Plan:
    """What every task is told."""

    config: PrepareConfig
    directory: Path
    """Where all is written; on a disk that every node of the cluster sees."""
    num_buckets: int
    looking: Looking = Looking()


@dataclass
class Collected:
    """What became of the rows of some units; the arrays are `(sources,)`."""

    number: int
    rows_in: NDArray[np.int64]
    rejected: NDArray[np.int64]
    left_out: NDArray[np.int64]
    bucket_files: list[Path] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    """Where the first row with each reason stands."""


@dataclass(frozen=True)
class Divided:
    """What became of the rows of a bucket: `outcomes` `(sources, outcomes)`, `labels` `(splits, labels)`."""

    outcomes: NDArray[np.int64]
    labels: NDArray[np.int64]
    survey: Survey


def collect(plan: Plan, number: int, units: Sequence[Unit]) -> Collected:
    """Read and check units; write good rows to bucket files and defective ones to `rejected/`.

    `number` names the files, so that a task that is run again replaces what it wrote. DataError for a damaged file.
    """
    result = Collected(number, *np.zeros((3, len(plan.config.sources)), dtype=np.int64))
    good: list[pa.Table] = []
    with ExitStack() as stack:
        rejected_file = None
        for unit, table, words in _checked_tables(plan.config, units):
            sampled = in_sample(words, plan.config.sources[unit.source].share)
            is_good = pc.is_null(table["reason"]).to_numpy()
            rejected = table.filter(pa.array(sampled & ~is_good)).select(REJECTED_COLUMNS)
            result.rows_in[unit.source] += sampled.sum()
            result.left_out[unit.source] += len(table) - sampled.sum()
            result.rejected[unit.source] += len(rejected)
            if len(rejected):
                rejected_file = rejected_file or stack.enter_context(_rejected_file(plan, number))
                rejected_file.write_table(rejected)
                _count_reasons(rejected, result)
            good.append(_good_columns(table, words, unit, plan.config).filter(pa.array(sampled & is_good)))
            if sum(kept.nbytes for kept in good) > FLUSH_BYTES:
                result.bucket_files.append(_write_buckets(plan, good, f"{number:05d}-{len(result.bucket_files):05d}"))
                good = []
    if good:
        result.bucket_files.append(_write_buckets(plan, good, f"{number:05d}-{len(result.bucket_files):05d}"))
    return result


def divide(plan: Plan, bucket: int, bucket_files: Sequence[Path]) -> Divided:
    """Remove duplicates and contradictions from a bucket and write its rows as one part of each split.

    Rows stand in the order of their hashes: shuffled, and in the same order on every machine.
    """
    config = plan.config
    table = pa.concat_tables([read_bucket(path, bucket) for path in bucket_files]).combine_chunks()
    low, high = _hash_words(table).view("<u8").T
    keys = [table[name].to_numpy() for name in ("row", "file", "source")]
    table = table.take(pa.array(np.lexsort((*keys, low, high))))
    relations = relations_of(plan.directory, bucket)
    outcome = _outcomes(table, config, relations)
    survey = survey_bucket(table, outcome, config=config, relations=relations, looking=plan.looking)
    source, label = table["source"].to_numpy(), table["label"].to_numpy()
    labels = np.zeros((len(SPLITS), len(config.labels)), dtype=np.int64)
    for split, name in enumerate(SPLITS):
        is_here = outcome == split
        labels[split] = np.bincount(label[is_here], minlength=len(config.labels))
        if is_here.any() and not config.check:
            _write_part(table.filter(pa.array(is_here)), config, plan.directory / name / f"part-{bucket:05d}.parquet")
    counts = np.zeros((len(config.sources), len(OUTCOMES)), dtype=np.int64)
    np.add.at(counts, (source, outcome), 1)
    return Divided(counts, labels, survey)


def _checked_tables(
    config: PrepareConfig, units: Sequence[Unit]
) -> Iterator[tuple[Unit, pa.Table, NDArray[np.uint32]]]:
    """Yield tables with their reasons and hashes; a row without a text is known by its place instead."""
    for unit in units:
        for raw in read_unit(unit, config.sources[unit.source]):
            label_map = config.sources[unit.source].label_map
            table = check_rows(raw, labels=config.labels, label_map=label_map)
            table = table.append_column("rating", ratings_of(raw["label"], label_map))
            identities = pc.coalesce(table["text"], table["id"]).to_pylist()
            yield unit, table, hash_texts(identities, seed=config.seed)


def _good_columns(table: pa.Table, words: NDArray[np.uint32], unit: Unit, config: PrepareConfig) -> pa.Table:
    hashes = pa.Array.from_buffers(GOOD_SCHEMA.field("hash").type, len(words), [None, pa.py_buffer(words.tobytes())])
    label = pc.index_in(table["label"], pa.array(config.labels, pa.string()))
    source, file = (pa.repeat(pa.scalar(place, pa.int32()), len(table)) for place in (unit.source, unit.file))
    columns = [hashes, source, file, table["row"], table["id"], table["text"], label, table["rating"]]
    return pa.table(columns, schema=GOOD_SCHEMA)


def _count_reasons(rejected: pa.Table, result: Collected) -> None:
    for file, row, reason in zip(*(rejected[name].to_pylist() for name in ("file", "row", "reason")), strict=True):
        if reason not in result.reasons and len(result.reasons) >= MOST_REASONS:
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
    buckets = bucket_of(_hash_words(table), plan.num_buckets)
    table = table.take(pa.array(np.argsort(buckets, kind="stable"))).combine_chunks()
    ends = np.cumsum(np.bincount(buckets, minlength=plan.num_buckets))
    path = _with_parent(plan.directory / BUCKETS_DIRECTORY / f"{name}.arrow")
    with pa.ipc.new_file(path, GOOD_SCHEMA, options=pa.ipc.IpcWriteOptions(compression="lz4")) as file:
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            batches = table.slice(start, end - start).to_batches()
            file.write_batch(batches[0] if batches else pa.RecordBatch.from_pylist([], schema=GOOD_SCHEMA))
    return path


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


def _hash_words(table: pa.Table) -> NDArray[np.uint32]:
    """Return the hashes of a table in one chunk as words `(rows, 4)`."""
    column = table["hash"].combine_chunks()
    raw = column.buffers()[1].to_pybytes() if len(column) else b""
    return words_of(raw[column.offset * HASH_BYTES : (column.offset + len(column)) * HASH_BYTES])


def _outcomes(table: pa.Table, config: PrepareConfig, relations: Relations) -> NDArray[np.intp]:
    """Return the place in OUTCOMES of each row, `(rows,)`; rows with equal hashes must stand together."""
    words, label = _hash_words(table), table["label"].to_numpy()
    if not len(words):
        return np.zeros(0, dtype=np.intp)
    is_first = np.concatenate([[True], (words[1:] != words[:-1]).any(axis=1)])
    starts, group = np.flatnonzero(is_first), np.cumsum(is_first) - 1
    conflicting = np.minimum.reduceat(label, starts) != np.maximum.reduceat(label, starts)
    # SPLITS stand in the order train, validation, test: of several pinned ones the last wins.
    pins = np.array([SPLITS.index(source.split) if source.split in SPLITS else NOT_PINNED for source in config.sources])
    pinned = np.maximum.reduceat(pins[table["source"].to_numpy()], starts)
    drawn_by = words[starts]
    if config.keep_together:
        drawn_by, pinned = relations.together(table["hash"].take(pa.array(starts)).combine_chunks(), drawn_by, pinned)
    drawn = split_of(drawn_by, validation_share=config.validation_share, test_share=config.test_share)
    outcome = np.where(conflicting, CONFLICTING, np.where(pinned == NOT_PINNED, drawn, pinned))[group]
    is_duplicate = ~is_first & ~conflicting[group] & (not config.keep_duplicates)
    return np.where(is_duplicate, DUPLICATE, outcome)


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

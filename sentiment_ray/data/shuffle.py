"""The first round of tasks: reads and checks rows, and shuffles them into bucket files.

A bucket holds all rows of its texts, so one bucket at a time is enough to find duplicates and conflicts. A bucket file
is an Arrow file with one record batch for each bucket. The result depends on the rows alone, not on the number of tasks
or on their order.
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

from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.copied_columns import COLUMN, append_columns
from sentiment_ray.data.hashing import (
    HASH_TYPE,
    assign_buckets,
    hash_groups,
    hash_texts,
    read_hashes,
    select_sample,
    to_arrow,
)
from sentiment_ray.data.job import PrepareJob
from sentiment_ray.data.readers.read_task import ReadTask
from sentiment_ray.data.readers.rows import read_tables
from sentiment_ray.data.split import merge_fixed_groups
from sentiment_ray.data.validate import check_rows, clean_texts, count_raw_labels, limit_labels, parse_ratings
from sentiment_ray.errors import DataError

FLUSH_BYTES = 64 << 20
BUCKETS_DIRECTORY = "_buckets"
REJECTED_DIRECTORY = "rejected"
OTHER_REASONS = "other"
MAX_NAMED_REASONS = 1000
"""Number of different reasons that a task counts by name. A wrong label column has a new one in every row."""
BUCKET_SCHEMA = pa.schema(
    [("hash", HASH_TYPE), ("source", pa.int32()), ("file", pa.int32()), ("row", pa.int64()), ("id", pa.string())]
    + [("text", pa.string()), ("label", pa.int32()), ("split_value", pa.int64()), ("rating", pa.float64())]
)
"""`source`, `file` and `label` are indexes; `split_value` is the hash of the row's group, or its time. If columns are
copied, they follow as one struct."""
REJECTED_COLUMNS = ("source", "file", "row", "reason")


@dataclass
class CollectReport:
    """What became of the rows that one task read; `rows_in`, `rejected` and `left_out` are `(sources,)`."""

    task_number: int
    rows_in: NDArray[np.int64]
    rejected: NDArray[np.int64]
    left_out: NDArray[np.int64]
    cleaned: NDArray[np.int64]
    """`(cleaning steps,)`: the number of rows that each step changed."""
    fixed_groups: list[tuple[int, NDArray[np.int64]]] = field(default_factory=list)
    """Hashes of the groups in sources that are put into one split, with the split's index in SPLITS."""
    bucket_files: list[Path] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    """The file and the row where each reason came first."""
    raw_labels: dict[int, Counter[str]] = field(default_factory=dict)
    """The rows of each raw label, by the index of the source."""


@dataclass(frozen=True)
class _CheckedTable:
    """A table of checked rows, with the hash of each row: `(rows, 4)`, and the cleaning steps that changed it:
    `(rows, steps)`."""

    task: ReadTask
    rows: pa.Table
    raw_labels: Counter[str]
    hashes: NDArray[np.uint32]
    changed: NDArray[np.bool_]


def collect_rows(job: PrepareJob, task_number: int, tasks: Sequence[ReadTask]) -> CollectReport:
    """Read and check rows; write good rows to bucket files and defective ones to `rejected/`.

    The files are named by `task_number`, so a task that runs again replaces its files. DataError for a damaged file.
    """
    config = job.config
    rows_in, rejected, left_out = np.zeros((3, len(config.sources)), dtype=np.int64)
    report = CollectReport(task_number, rows_in, rejected, left_out, np.zeros(len(config.clean), dtype=np.int64))
    good: list[pa.Table] = []
    with ExitStack() as stack:
        rejected_file = None
        for table in _read_checked_tables(config, tasks):
            source = config.sources[table.task.source_index]
            is_good = pc.is_null(table.rows["reason"]).to_numpy()
            is_left_out = is_good & pc.is_null(table.rows["label"]).to_numpy()
            in_sample = select_sample(table.hashes, source.share) & ~is_left_out
            rejected_rows = _to_rejected_rows(table.rows.filter(pa.array(in_sample & ~is_good)))
            _count_rows(report, table, in_sample, len(rejected_rows))
            if len(rejected_rows):
                rejected_file = rejected_file or stack.enter_context(
                    _open_rejected_file(job, task_number, rejected_rows.schema)
                )
                rejected_file.write_table(rejected_rows)
                _count_reasons(report, rejected_rows)
            good.append(_to_bucket_rows(table, config).filter(pa.array(in_sample & is_good)))
            if source.group_column and source.split != "auto":
                groups = good[-1]["split_value"].drop_null().unique().to_numpy()
                report.fixed_groups.append((SPLITS.index(source.split), groups))
            if sum(kept.nbytes for kept in good) > FLUSH_BYTES:
                report.bucket_files.append(_write_bucket_file(job, good, task_number, len(report.bucket_files)))
                good = []
    if good:
        report.bucket_files.append(_write_bucket_file(job, good, task_number, len(report.bucket_files)))
    report.fixed_groups = list(merge_fixed_groups(report.fixed_groups).items())
    return report


def read_bucket(paths: Sequence[Path], bucket: int) -> pa.Table:
    """Read the rows of one bucket from all bucket files; DataError if this node cannot see one of the files."""
    tables = []
    for path in paths:
        try:
            with pa.memory_map(str(path)) as file:
                tables.append(pa.Table.from_batches([pa.ipc.open_file(file).get_batch(bucket)]))
        except FileNotFoundError:
            raise DataError(
                f"{path} was written by one node of the cluster, and another node cannot see it. Put the output on "
                "storage that all nodes share."
            ) from None
    return pa.concat_tables(tables)


def _read_checked_tables(config: PrepareConfig, tasks: Sequence[ReadTask]) -> Iterator[_CheckedTable]:
    """Yield tables whose rows are checked and hashed. A row with a null or blank text is hashed by its id."""
    for task in tasks:
        source = config.sources[task.source_index]
        for raw in read_tables(task, source):
            cleaned, changed = clean_texts(raw, config.clean)
            rows = check_rows(cleaned, source=source, labels=config.labels)
            rows = rows.append_column("rating", parse_ratings(raw["label"], source))
            has_text = pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(rows["text"])), 0)
            hashed = pc.if_else(pc.fill_null(has_text, False), rows["text"], rows["id"]).to_pylist()
            raw_labels = count_raw_labels(raw["label"], source, config.labels)
            yield _CheckedTable(task, rows, raw_labels, hash_texts(hashed, seed=config.seed), changed)


def _count_rows(report: CollectReport, table: _CheckedTable, in_sample: NDArray[np.bool_], num_rejected: int) -> None:
    source = table.task.source_index
    report.rows_in[source] += in_sample.sum()
    report.left_out[source] += len(in_sample) - in_sample.sum()
    report.rejected[source] += num_rejected
    report.cleaned += table.changed[in_sample].sum(axis=0)
    report.raw_labels[source] = limit_labels(report.raw_labels.get(source, Counter()) + table.raw_labels)


def _count_reasons(report: CollectReport, rejected: pa.Table) -> None:
    for file, row, reason in zip(*(rejected[name].to_pylist() for name in ("file", "row", "reason")), strict=True):
        if reason not in report.reasons and len(report.reasons) >= MAX_NAMED_REASONS:
            reason = OTHER_REASONS
        report.reasons[reason] += 1
        report.examples.setdefault(reason, f"{file}, row {row}")


def _to_bucket_rows(table: _CheckedTable, config: PrepareConfig) -> pa.Table:
    rows, task = table.rows, table.task
    label = pc.index_in(rows["label"], pa.array(config.labels, pa.string()))
    source, file = (
        pa.repeat(pa.scalar(index, pa.int32()), len(rows)) for index in (task.source_index, task.file_index)
    )
    split_value = rows["time"]
    if config.sources[task.source_index].group_column:
        groups = rows["group"].combine_chunks()
        split_value = pa.array(hash_groups(groups.to_pylist(), seed=config.seed), mask=groups.is_null().to_numpy(False))
    hashes = to_arrow(table.hashes)
    columns = [hashes, source, file, rows["row"], rows["id"], rows["text"], label, split_value, rows["rating"]]
    bucket_rows = pa.table(columns, schema=BUCKET_SCHEMA)
    return bucket_rows.append_column(COLUMN, rows[COLUMN]) if COLUMN in rows.column_names else bucket_rows


def _to_rejected_rows(rows: pa.Table) -> pa.Table:
    rejected = rows.select(REJECTED_COLUMNS)
    return append_columns(rejected, rows[COLUMN]) if COLUMN in rows.column_names else rejected


def _open_rejected_file(job: PrepareJob, task_number: int, schema: pa.Schema) -> pq.ParquetWriter:
    path = job.directory / REJECTED_DIRECTORY / f"part-{task_number:05d}.parquet"
    # Parents are not made: a task that outlives its failed job must not bring the output back.
    path.parent.mkdir(exist_ok=True)
    return pq.ParquetWriter(path, schema, compression="zstd")


def _write_bucket_file(job: PrepareJob, tables: list[pa.Table], task_number: int, file_number: int) -> Path:
    """Write rows to a file with one record batch for each bucket, empty ones included."""
    table = pa.concat_tables(tables).combine_chunks()
    buckets = assign_buckets(read_hashes(table["hash"]), job.num_buckets)
    table = table.take(pa.array(np.argsort(buckets, kind="stable"))).combine_chunks()
    ends = np.cumsum(np.bincount(buckets, minlength=job.num_buckets))
    nothing = [pa.nulls(0, field.type) for field in table.schema]
    path = job.directory / BUCKETS_DIRECTORY / f"{task_number:05d}-{file_number:05d}.arrow"
    path.parent.mkdir(exist_ok=True)
    with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as file:
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            batches = table.slice(start, end - start).to_batches()
            file.write_batch(batches[0] if batches else pa.RecordBatch.from_arrays(nothing, schema=table.schema))
    return path

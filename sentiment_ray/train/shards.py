"""Divides the rows of each split among the workers: an equal run of the training rows, all rows of other splits.

Ray's own equal splitting does not fit. It drops rows that do not divide evenly (1 of 1,001 over 2 workers, all of 3
over 4), and a worker gets other rows when the others are slower, so a training could not resume within an epoch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
from numpy.typing import NDArray
from pyarrow import parquet
from ray.data import DataIterator, Dataset, ExecutionOptions, TaskPoolStrategy
from ray.train import DataConfig

TEACHER_TYPE = pa.list_(pa.float32())
PIECES_PER_ROW_GROUP = 16
"""Pieces that a row group is cut into when several sources are mixed."""
NUM_READING_TASKS = 2
"""Tasks that read a split at the same time. They reserve no CPU, because the workers may hold all CPUs."""


@dataclass(frozen=True)
class Source:
    """Parquet files of rows, the share of the rows to take, and the columns to read."""

    files: tuple[Path, ...]
    share: float = 1.0
    text: str = "text"
    label: str | None = "label"
    teacher: tuple[str, ...] = ()
    """Columns of a teacher's probabilities, in the order of the labels."""
    left_out: Mapping[tuple[Path, int], NDArray[np.int64]] = field(default_factory=dict, compare=False)
    """Rows that are not read, by file and row group: their indices in the row group."""


@dataclass(frozen=True)
class Part:
    """A piece of a row group: of its rows `num_taken` are drawn, and this part is `num_rows` of them from `start` on.

    `first_row` is the index of the part's first row among the rows of all parts.
    """

    source: Source
    path: Path
    row_group: int
    seed: int
    num_taken: int
    start: int
    num_rows: int
    first_row: int = 0


class ExactShards(DataConfig):  # type: ignore[misc]
    """Gives worker r of n the rows from r/n to (r+1)/n of `train`, in their order, and all rows of other splits.

    The dataset of a split holds the indices of its parts (`build_dataset`).
    """

    def __init__(self, parts: dict[str, list[Part]]) -> None:
        super().__init__(datasets_to_split=[], execution_options=ExecutionOptions(preserve_order=True))
        self._parts = parts

    def configure(
        self, datasets: dict[str, Dataset], world_size: int, *arguments: Any, **options: Any
    ) -> list[dict[str, DataIterator]]:
        """Return for each worker an iterator over its rows of each split."""
        shards = []
        for rank in range(world_size):
            rows = {
                split: _read_shard(dataset, self._parts[split], *((rank, world_size) if split == "train" else (0, 1)))
                for split, dataset in datasets.items()
            }
            shards += super().configure(rows, 1, *arguments, **options)
        return shards


def split_source(prepared: Path, split: str, *, share: float = 1.0) -> Source:
    """Return the rows, or a share of the rows, of a split that prepare_reviews wrote."""
    return Source(tuple(sorted((prepared / split).glob("*.parquet"))), share)


def plan_parts(sources: Sequence[Source], *, seed: int) -> list[Part]:
    """Return the parts of some sources in the order in which they are read; `seed` draws the share of the rows.

    Several sources are mixed: each row group is cut into pieces, and a piece keeps its relative position in its own
    source. So no epoch ends with the rows of one source alone.
    """
    num_pieces = PIECES_PER_ROW_GROUP if len(sources) > 1 else 1
    placed: list[tuple[float, Part]] = []
    for source in sources:
        groups = [
            (path, group, num_rows - len(source.left_out.get((path, group), ())))
            for path in source.files
            for group, num_rows in enumerate(_count_group_rows(path))
        ]
        num_before, num_all = 0, sum(rows for _, _, rows in groups)
        for path, group, num_rows in groups:
            num_taken = round((num_before + num_rows) * source.share) - round(num_before * source.share)
            ends = [num_taken * piece // num_pieces for piece in range(num_pieces + 1)]
            for piece, (start, end) in enumerate(pairwise(ends)):
                position = (num_before + num_rows * piece / num_pieces) / max(num_all, 1)
                if end > start:  # otherwise a row group would be read for nothing
                    placed.append((position, Part(source, path, group, seed, num_taken, start, end - start)))
            num_before += num_rows
    parts = [part for _, part in sorted(placed, key=lambda pair: pair[0])]
    first_rows = accumulate((part.num_rows for part in parts), initial=0)
    return [replace(part, first_row=first) for part, first in zip(parts, first_rows, strict=False)]


def _count_group_rows(path: Path) -> list[int]:
    """Return the number of rows in each row group of a Parquet file."""
    metadata = parquet.read_metadata(path)
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def count_rows(parts: Sequence[Part]) -> int:
    """Return the number of rows of all parts, which are in their order."""
    return parts[-1].first_row + parts[-1].num_rows if parts else 0


def build_dataset(parts: Sequence[Part]) -> Dataset:
    """Return a dataset of the indices of some parts, for ExactShards."""
    return ray.data.from_items([{"part": index} for index in range(len(parts))])


def _read_shard(dataset: Dataset, parts: list[Part], rank: int, world_size: int) -> Dataset:
    """Return a worker's rows with the columns text, label and teacher.

    Not `ray.data.read_parquet`: in Ray 2.60 its task that lists the files asks for a whole CPU whatever it is told. On
    a small machine whose CPUs the workers hold it would wait for ever.
    """
    return dataset.map_batches(
        _read_parts,
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=0,
        compute=TaskPoolStrategy(size=NUM_READING_TASKS),
        fn_kwargs={"parts": parts, "rank": rank, "world_size": world_size},
    )


def _read_parts(batch: pa.Table, *, parts: list[Part], rank: int, world_size: int) -> Iterator[pa.Table]:
    """Yield the worker's rows of the parts whose indices are in the column `part`."""
    total = count_rows(parts)
    for index in batch["part"].to_pylist():
        part = parts[index]
        start, end = (total * number // world_size - part.first_row for number in (rank, rank + 1))
        if start < part.num_rows and end > 0:
            table = _read_row_group(part)
            if part.num_taken < len(table):
                drawn = np.random.default_rng([part.seed, part.row_group]).permutation(len(table))
                table = table.take(np.sort(drawn[: part.num_taken]))
            table = table.slice(part.start, part.num_rows)
            yield table.slice(max(start, 0), end - max(start, 0))


def _read_row_group(part: Part) -> pa.Table:
    """Return a part's whole row group, without rows that are left out, with the columns text, label and teacher.

    `teacher` is a list of probabilities. A column that the source does not have is null.
    """
    source = part.source
    names = [source.text, *([source.label] if source.label else []), *source.teacher]
    table = parquet.ParquetFile(part.path).read_row_group(part.row_group, columns=names)
    left_out = source.left_out.get((part.path, part.row_group))
    if left_out is not None:
        table = table.take(np.delete(np.arange(len(table)), left_out))
    text = table[source.text].cast(pa.string())
    label = table[source.label].cast(pa.string()) if source.label else pa.nulls(len(table), pa.string())
    teacher = pa.nulls(len(table), TEACHER_TYPE)
    if source.teacher:
        rows = np.stack([table[name].to_numpy() for name in source.teacher], axis=1).astype(np.float32)
        teacher = pa.array(list(rows), TEACHER_TYPE)
    return pa.table({"text": text, "label": label, "teacher": teacher})

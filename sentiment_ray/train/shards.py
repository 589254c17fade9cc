"""Divides the rows of each split among the workers: an equal run of the training rows, all rows of other splits.

Ray's own equal splitting does not fit. It drops rows that do not divide evenly (1 of 1,001 over 2 workers, all of 3
over 4), and a worker gets other rows when the others are slower, so a training could not resume within an epoch.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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

from sentiment_ray.train.task import CHUNK_ROWS

TEACHER_TYPE = pa.list_(pa.float32())
MAX_PIECES = 16
"""Most pieces of a row group, each of which reads it anew. Where several sources are mixed, all have so many."""
PIECE_ROWS = CHUNK_ROWS // 2
"""Most rows of a piece of a single source: a chunk has two pieces or more, so it has other rows in every epoch."""
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
    """Gives worker r of n the rows from r/n to (r+1)/n of `train`, and all rows of other splits.

    The training rows have several orders, each of which is a dataset (`build_datasets`).
    """

    def __init__(self, parts: dict[str, list[Part]], *, seed: int) -> None:
        super().__init__(datasets_to_split=[], execution_options=ExecutionOptions(preserve_order=True))
        self._parts, self._seed = parts, seed

    def configure(
        self, datasets: dict[str, Dataset], world_size: int, *arguments: Any, **options: Any
    ) -> list[dict[str, DataIterator]]:
        """Return for each worker an iterator over its rows of each split."""
        shards: list[dict[str, DataIterator]] = [{} for _ in range(world_size)]
        for name, dataset in datasets.items():
            split, order = _parse_name(name)
            parts = order_parts(self._parts[split], seed=self._seed, order=order)
            for rank, shard in enumerate(shards):
                rows = _read_shard(dataset, parts, *((rank, world_size) if split == "train" else (0, 1)))
                shard |= super().configure({name: rows}, 1, *arguments, **options)[0]
        return shards


def split_source(prepared: Path, split: str, *, share: float = 1.0) -> Source:
    """Return the rows, or a share of the rows, of a split that prepare_reviews wrote."""
    return Source(tuple(sorted((prepared / split).glob("*.parquet"))), share)


def plan_parts(sources: Sequence[Source], *, seed: int) -> list[Part]:
    """Return the parts of some sources in order 0, the order of their files; `seed` draws the share of the rows.

    A part is a piece of a row group. Several sources are mixed, so no epoch ends with the rows of one source alone.
    """
    return _mix([_cut_source(source, seed, is_mixed=len(sources) > 1) for source in sources])


def _cut_source(source: Source, seed: int, *, is_mixed: bool) -> list[Part]:
    """Return the parts of a source in the order of its files."""
    parts: list[Part] = []
    groups = [
        (path, group, num_rows - len(source.left_out.get((path, group), ())))
        for path in source.files
        for group, num_rows in enumerate(_count_group_rows(path))
    ]
    num_before = 0
    for path, group, num_rows in groups:
        num_pieces = MAX_PIECES if is_mixed else min(MAX_PIECES, 1 + num_rows // PIECE_ROWS)
        num_taken = round((num_before + num_rows) * source.share) - round(num_before * source.share)
        ends = [num_taken * piece // num_pieces for piece in range(num_pieces + 1)]
        parts += [
            Part(source, path, group, seed, num_taken, start, end - start)
            for start, end in pairwise(ends)
            if end > start  # otherwise a row group would be read for nothing
        ]
        num_before += num_rows
    return parts


def order_parts(parts: Sequence[Part], *, seed: int, order: int) -> list[Part]:
    """Return the parts in one of their orders: 0 is that of `plan_parts`, every other number a random one."""
    if order == 0:
        return list(parts)
    by_source: dict[Source, list[Part]] = {}
    for part in parts:
        by_source.setdefault(part.source, []).append(part)
    generator = np.random.default_rng([seed, order])
    return _mix([[own[index] for index in generator.permutation(len(own))] for own in by_source.values()])


def _mix(sources: Iterable[Sequence[Part]]) -> list[Part]:
    """Return the parts of all sources, each at its relative position in its own source, with their `first_row`."""
    placed: list[tuple[float, Part]] = []
    for parts in sources:
        *starts, total = accumulate((part.num_rows for part in parts), initial=0)
        placed += [(start / total, part) for start, part in zip(starts, parts, strict=True)]
    ordered = [part for _, part in sorted(placed, key=lambda pair: pair[0])]
    first_rows = accumulate((part.num_rows for part in ordered), initial=0)
    return [replace(part, first_row=first) for part, first in zip(ordered, first_rows, strict=False)]


def _count_group_rows(path: Path) -> list[int]:
    """Return the number of rows in each row group of a Parquet file."""
    metadata = parquet.read_metadata(path)
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def count_rows(parts: Sequence[Part]) -> int:
    """Return the number of rows of all parts, which are in their order."""
    return parts[-1].first_row + parts[-1].num_rows if parts else 0


def build_datasets(parts: dict[str, list[Part]], *, num_orders: int) -> dict[str, Dataset]:
    """Return the datasets that ExactShards reads: `num_orders` of the training rows, one of every other split.

    A dataset holds the places of the parts, 0, 1, 2 and so on. Its name says which part is in a place.
    """
    places = {
        split: ray.data.from_items([{"part": place} for place in range(len(some))]) for split, some in parts.items()
    }
    train = places.pop("train")
    return {name_dataset("train", order): train for order in range(num_orders)} | places


def name_dataset(split: str, order: int) -> str:
    """Return the name of the dataset of a split in one of its orders."""
    return f"{split}-{order}" if split == "train" else split


def _parse_name(name: str) -> tuple[str, int]:
    """Return the split and the order of a dataset."""
    split, _, order = name.partition("-")
    return split, int(order or 0)


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
    """Yield the worker's rows of the parts whose places in `parts` are in the column `part`."""
    total = count_rows(parts)
    for place in batch["part"].to_pylist():
        part = parts[place]
        start, end = (total * number // world_size - part.first_row for number in (rank, rank + 1))
        if start < part.num_rows and end > 0:
            table = _read_row_group(part)
            if part.num_taken < len(table):
                drawn = np.random.default_rng([part.seed, part.row_group]).permutation(len(table))
                table = table.take(np.sort(drawn[: part.num_taken]))
            table = table.slice(part.start, part.num_rows)
            yield table.slice(max(start, 0), end - max(start, 0))


def read_tables(parts: list[Part], num_rows: int, *, rank: int = 0, world_size: int = 1) -> Iterator[pa.Table]:
    """Yield a worker's rows, `num_rows` at a time, as `_read_shard` does; this process reads them itself."""
    places = pa.table({"part": range(len(parts))})
    unread: list[pa.Table] = []
    for table in _read_parts(places, parts=parts, rank=rank, world_size=world_size):
        rows = pa.concat_tables([*unread, table])
        while len(rows) >= num_rows:
            yield rows.slice(0, num_rows)
            rows = rows.slice(num_rows)
        unread = [rows]
    yield from (rows for rows in unread if len(rows))


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

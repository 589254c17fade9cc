"""Which rows of the splits each worker reads: an equal run of the training rows, every validation row; knows no text.

Ray's own equal splitting drops rows that do not divide (1 of 1,001 over 2 workers, all of 3 over 4) and gives a worker
other rows when others are slower, so that nothing could go on from the middle of an epoch.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.data
from pyarrow import parquet
from ray.data import DataIterator, Dataset, ExecutionOptions
from ray.train import DataConfig

READING_CPUS = 0.25
"""CPUs of a task that reads a split: small, for the workers hold most of them."""


class ExactShards(DataConfig):  # type: ignore[misc]
    """Worker r of n gets the rows from r/n to (r+1)/n of `train`, in their order, and all rows of other splits."""

    def __init__(self) -> None:
        super().__init__(datasets_to_split=[], execution_options=ExecutionOptions(preserve_order=True))

    def configure(
        self, datasets: dict[str, Dataset], world_size: int, *arguments: Any, **options: Any
    ) -> list[dict[str, DataIterator]]:
        """Return for each worker an iterator over its rows of each split."""
        shards = []
        for rank in range(world_size):
            rows = {
                name: _read(parts, rank, world_size) if name == "train" else _read(parts, 0, 1)
                for name, parts in datasets.items()
            }
            shards += super().configure(rows, 1, *arguments, **options)
        return shards


def parts_of(split: Path) -> Dataset:
    """Return the row groups of a split, in the order of their names, each with the rows before it and of them all."""
    files = sorted(split.glob("*.parquet"))
    groups = [(path, group) for path in files for group in _rows_of_groups(path)]
    total = sum(rows for _, (_, rows) in groups)
    items, first = [], 0
    for path, (group, rows) in groups:
        items.append({"path": str(path), "group": group, "first": first, "rows": rows, "total": total})
        first += rows
    return ray.data.from_items(items)


def _rows_of_groups(path: Path) -> list[tuple[int, int]]:
    metadata = parquet.read_metadata(path)
    return [(group, metadata.row_group(group).num_rows) for group in range(metadata.num_row_groups)]


def _read(parts: Dataset, rank: int, world_size: int) -> Dataset:
    """Return texts and labels of a worker's rows.

    Not `ray.data.read_parquet`: in Ray 2.60 its step that lists files asks for a whole CPU whatever it is told, and
    beside workers that hold most of a small machine it waits for ever.
    """
    return parts.map_batches(
        _read_parts,
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=READING_CPUS,
        fn_kwargs={"rank": rank, "world_size": world_size},
    )


def _read_parts(batch: pa.Table, *, rank: int, world_size: int) -> Iterator[pa.Table]:
    for part in batch.to_pylist():
        start, end = (part["total"] * place // world_size - part["first"] for place in (rank, rank + 1))
        if start < part["rows"] and end > 0:
            table = parquet.ParquetFile(part["path"]).read_row_group(part["group"], columns=["text", "label"])
            yield table.slice(max(start, 0), end - max(start, 0))

"""Which rows of the splits each worker reads: an equal run of the training rows, every validation row; knows no labels.

Ray's own equal splitting drops rows that do not divide (1 of 1,001 over 2 workers, all of 3 over 4) and gives a worker
other rows when others are slower, so that nothing could go on from the middle of an epoch.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
from pyarrow import parquet
from ray.data import DataIterator, Dataset, ExecutionOptions, TaskPoolStrategy
from ray.train import DataConfig

TEACHER = pa.list_(pa.float32())
PIECES = 16
"""Into how many a row group is divided where several sources are mixed."""
READING_TASKS = 2
"""Tasks that read a split at once. They ask for no CPU: the workers may hold all that a lost node has left."""


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


@dataclass(frozen=True)
class Source:
    """Parquet files of rows: the share that is taken, and the columns of text, label and a teacher's probabilities."""

    files: tuple[Path, ...]
    share: float = 1.0
    text: str = "text"
    label: str | None = "label"
    teacher: tuple[str, ...] = ()


Parts = list[dict[str, Any]]
"""Row groups, or pieces of them, each with the rows that are taken of it, those before it and those of all."""


def split_of(prepared: Path, split: str, *, share: float = 1.0) -> Source:
    """Return a split that prepare_reviews wrote, or a share of it."""
    return Source(tuple(sorted((prepared / split).glob("*.parquet"))), share)


def parts_of(sources: list[Source], *, seed: int) -> Parts:
    """Return the row groups of some sources, in their order; of each a share of the rows, drawn by `seed`.

    Several sources are mixed in pieces, each where it would stand in its own source, so that an epoch does not end
    with the rows of one of them alone.
    """
    placed: list[tuple[float, dict[str, Any]]] = []
    for source in sources:
        columns = json.dumps({"text": source.text, "label": source.label, "teacher": source.teacher})
        groups = [(path, group, rows) for path in source.files for group, rows in enumerate(_rows_of_groups(path))]
        seen, all_rows = 0, sum(rows for _, _, rows in groups)
        for path, group, num_rows in groups:
            taken = round((seen + num_rows) * source.share) - round(seen * source.share)
            part = {"path": str(path), "group": group, "columns": columns, "seed": seed, "taken": taken}
            pieces = PIECES if len(sources) > 1 else 1
            ends = [taken * piece // pieces for piece in range(pieces + 1)]
            for piece, (start, end) in enumerate(pairwise(ends)):
                place = (seen + num_rows * piece / pieces) / max(all_rows, 1)
                if end > start:  # else a row group would be read for nothing
                    placed.append((place, part | {"skipped": start, "rows": end - start}))
            seen += num_rows
    items = [part for _, part in sorted(placed, key=itemgetter(0))]
    before = [0, *accumulate(part["rows"] for part in items)]
    return [part | {"first": first, "total": before[-1]} for part, first in zip(items, before[:-1], strict=True)]


def _rows_of_groups(path: Path) -> list[int]:
    metadata = parquet.read_metadata(path)
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def count_rows(parts: Parts) -> int:
    """Return the rows that are taken of all parts."""
    return int(parts[0]["total"]) if parts else 0


def dataset_of(parts: Parts) -> Dataset:
    """Return a dataset that ExactShards can divide."""
    return ray.data.from_items(parts)


def _read(parts: Dataset, rank: int, world_size: int) -> Dataset:
    """Return texts and labels of a worker's rows.

    Not `ray.data.read_parquet`: in Ray 2.60 its step that lists files asks for a whole CPU whatever it is told, and
    beside workers that hold most of a small machine it waits for ever.
    """
    return parts.map_batches(
        _read_parts,
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=0,
        compute=TaskPoolStrategy(size=READING_TASKS),
        fn_kwargs={"rank": rank, "world_size": world_size},
    )


def _read_parts(batch: pa.Table, *, rank: int, world_size: int) -> Iterator[pa.Table]:
    for part in batch.to_pylist():
        start, end = (part["total"] * place // world_size - part["first"] for place in (rank, rank + 1))
        if start < part["rows"] and end > 0:
            table = _read_part(part)
            if part["taken"] < len(table):
                drawn = np.random.default_rng([part["seed"], part["group"]]).permutation(len(table))
                table = table.take(np.sort(drawn[: part["taken"]]))
            table = table.slice(part["skipped"], part["rows"])
            yield table.slice(max(start, 0), end - max(start, 0))


def _read_part(part: dict[str, Any]) -> pa.Table:
    """Return a row group with the columns text, label and teacher, a list of probabilities; null for what is not."""
    columns = json.loads(part["columns"])
    names = [columns["text"], *([columns["label"]] if columns["label"] else []), *columns["teacher"]]
    table = parquet.ParquetFile(part["path"]).read_row_group(part["group"], columns=names)
    text = table[columns["text"]].cast(pa.string())
    label = table[columns["label"]].cast(pa.string()) if columns["label"] else pa.nulls(len(table), pa.string())
    teacher = pa.nulls(len(table), TEACHER)
    if columns["teacher"]:
        rows = np.stack([table[name].to_numpy() for name in columns["teacher"]], axis=1).astype(np.float32)
        teacher = pa.array(list(rows), TEACHER)
    return pa.table({"text": text, "label": label, "teacher": teacher})

"""Makes chunks of rows for training; knows no model."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from sentiment_ray.labels import label2id
from sentiment_ray.train.batches import NO_LABEL, Chunk
from sentiment_ray.train.shards import Part, order_parts, read_tables


def make_chunk_reader(
    parts: Mapping[str, Sequence[Part]], labels: Sequence[str], *, seed: int, rank: int = 0, world_size: int = 1
) -> Callable[[str, int, int], Iterator[Chunk]]:
    """Return a function that yields the rows of a worker in chunks, for a training without Ray's datasets.

    It takes a split, the rows of a chunk, and the number of an order, which `seed` decides. Of `train` it reads the
    worker's share, of other splits all rows.
    """

    def read_chunks(split: str, num_rows: int, order: int) -> Iterator[Chunk]:
        ordered = order_parts(parts[split], seed=seed, order=order)
        share = {"rank": rank, "world_size": world_size} if split == "train" else {}
        for table in read_tables(ordered, num_rows, **share):
            yield build_chunk(table, labels)

    return read_chunks


def build_chunk(table: pa.Table, labels: Sequence[str]) -> Chunk:
    """Return the rows of a table as a chunk.

    The columns are `text`, `label` (null for a row without a label) and, if there is a teacher, `teacher`: a list of
    probabilities, or null for a row that the teacher did not score.
    """
    ids = label2id(labels)
    label_ids = [NO_LABEL if name is None else ids[name] for name in table.column("label").to_pylist()]
    texts = table.column("text").to_pylist()
    if "teacher" not in table.column_names or table.column("teacher").null_count == len(table):
        return Chunk(texts, np.array(label_ids, dtype=np.int64))
    not_scored = [0.0] * len(labels)
    teacher = [not_scored if row is None else row for row in table.column("teacher").to_pylist()]
    return Chunk(texts, np.array(label_ids, dtype=np.int64), np.array(teacher, dtype=np.float32))

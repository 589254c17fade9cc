"""Turns an Arrow table into a chunk of training rows; knows no model and no Ray."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from sentiment_ray.labels import label2id
from sentiment_ray.train.batches import NO_LABEL, Chunk


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

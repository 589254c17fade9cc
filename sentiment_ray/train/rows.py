"""Rows of Parquet as the training loop takes them; knows no model and no Ray."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from sentiment_ray.labels import label2id
from sentiment_ray.train.batches import NO_LABEL, Window


def window_of(table: pa.Table, labels: Sequence[str]) -> Window:
    """Return the rows of a table with `text`, `label` (may be null) and, if there is one, `teacher` (lists or null)."""
    ids = label2id(labels)
    label_ids = [NO_LABEL if name is None else ids[name] for name in table.column("label").to_pylist()]
    texts = table.column("text").to_pylist()
    if "teacher" not in table.column_names or table.column("teacher").null_count == len(table):
        return Window(texts, np.array(label_ids, dtype=np.int64))
    nothing = [0.0] * len(labels)
    rows = [nothing if row is None else row for row in table.column("teacher").to_pylist()]
    return Window(texts, np.array(label_ids, dtype=np.int64), np.array(rows, dtype=np.float32))

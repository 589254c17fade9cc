"""Looks at the first labels of every source before any work, and refuses a column that holds no labels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa

from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.label_advice import OTHER_LABELS, advise_on_labels
from sentiment_ray.data.label_mapping import map_labels, select_left_out
from sentiment_ray.data.readers.faults import retry_reading
from sentiment_ray.data.readers.read_task import ReadTask
from sentiment_ray.data.readers.rows import read_tables
from sentiment_ray.data.source_config import Source
from sentiment_ray.data.validate import count_raw_labels
from sentiment_ray.errors import DataError

MAX_FIRST_ROWS = 10_000
"""Rows of a source, in its first files, whose labels are read."""
MAX_FIRST_FILES = 20


@dataclass
class _FirstRows:
    num_rows: int = 0
    num_tasks: int = 0
    num_unknown: int = 0
    """Rows whose label is none."""
    has_label: bool = False
    """Whether a row has a label, or is left out on request."""
    raw_labels: Counter[str] = field(default_factory=Counter)
    is_complete: bool = True
    """Whether no row of the source was left unread."""


def check_first_labels(config: PrepareConfig, tasks: Sequence[ReadTask]) -> None:
    """Raise DataError if no first row of a source has a label, and these are more rows than `max_rejected` allows.

    A file that is sorted by its labels begins with rows of one value, which says nothing about the others. So several
    different values must have been found, or all rows must have been read.
    """
    by_source = _read_first_rows(config, tasks)
    num_rows = sum(first.num_rows for first in by_source.values())
    for source_index, first in by_source.items():
        source = config.sources[source_index]
        has_several = len(first.raw_labels) > 1 or OTHER_LABELS in first.raw_labels
        if first.has_label or not (has_several or first.is_complete):
            continue
        advice = advise_on_labels(list(first.raw_labels), source, config.labels)
        if advice and first.num_unknown > config.max_rejected * num_rows:
            raise DataError(
                f"{source.path}: none of the first {first.num_rows} rows has one of the labels "
                f"{', '.join(config.labels)}. {advice.to_text(source.label_column)}"
            )


def _read_first_rows(config: PrepareConfig, tasks: Sequence[ReadTask]) -> dict[int, _FirstRows]:
    """Read the first table of the first tasks of each source, and return what they hold by the source's index."""
    by_source: dict[int, _FirstRows] = {}
    for task in tasks:
        source = config.sources[task.source_index]
        first = by_source.setdefault(task.source_index, _FirstRows())
        if first.num_rows >= MAX_FIRST_ROWS or first.num_tasks == MAX_FIRST_FILES:
            first.is_complete = False
            continue
        first.num_tasks += 1
        table, is_alone = retry_reading(partial(_read_first_table, task, source))
        if table is not None:
            raw = table["label"].drop_null()
            values = raw.unique().to_pylist()
            first.num_rows += len(table)
            first.num_unknown += len(raw)
            first.has_label |= any(map_labels(values, source, config.labels)) or bool(select_left_out(values, source))
            first.raw_labels += count_raw_labels(raw, source, config.labels)
            first.is_complete = first.is_complete and is_alone
    return by_source


def _read_first_table(task: ReadTask, source: Source) -> tuple[pa.Table | None, bool]:
    """Return the first rows of a task, None if it has none, and whether these are all."""
    tables = read_tables(task, source)
    return next(tables, None), next(tables, None) is None

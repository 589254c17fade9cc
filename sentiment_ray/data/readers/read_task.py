"""What all readers share: the task they get and the rows they yield; opens no file."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa


@dataclass(frozen=True)
class ReadTask:
    """What is read in one go: a text file, or one row group of a Parquet file."""

    source_index: int
    """Index of the source in the configuration."""
    file_index: int
    """Index of the file among the source's files."""
    path: str
    format: str
    id_prefix: str
    """Start of the id of each row that has no id of its own."""
    size_bytes: int
    """Approximate uncompressed size."""
    row_group: int = 0
    first_row: int = 0
    """Index in the file of the row group's first row."""
    path_columns: dict[str, str | None] = field(default_factory=dict)
    """Columns given by the path (label=positive/). A column of the file with the same name has precedence."""
    copied: pa.StructType = pa.struct([])
    """Columns to copy into the splits, and their types there."""


class CopiedRow(NamedTuple):
    """The values of a row of a Parquet file: those at `position` of `values`, which neighbouring rows share."""

    values: pa.StructArray
    position: int
    row_bytes: int
    """Mean size of a row of `values`."""


class Row(NamedTuple):
    """A row as its file gives it, in Python values. A row with a `reason` is defective."""

    number: int
    """Where to find the row. In a text file: the number of its first line, from 1, a CSV's header included. In a
    Parquet file: its index, from 0."""
    id: Any = None
    texts: tuple[Any, ...] = ()
    """The values of the text columns, in order."""
    label: Any = None
    split_value: Any = None
    """The group or the time that decides on the row's split; None if the text decides."""
    reason: str | None = None
    copied: tuple[Any, ...] | CopiedRow = ()
    """The values of the columns to copy, in order; of a text file, in Python values."""

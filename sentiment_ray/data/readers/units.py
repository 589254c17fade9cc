"""What the readers share: a unit of work, and a row as a format gives it; opens nothing."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Unit:
    """What is read at once: a text file, or one row group of a Parquet file."""

    source: int
    """Place of its source in the configuration."""
    file: int
    """Place of its file among the source's."""
    path: str
    format: str
    id_prefix: str
    """What the ids of its rows begin with where no column gives them."""
    size_bytes: int
    """Bytes when read, roughly."""
    row_group: int = 0
    first_row: int = 0
    """Number of the row group's first row in its file."""
    partition: dict[str, str | None] = field(default_factory=dict)
    """Columns that stand in the file's path (label=positive/); one of the same name in the file wins."""


class Row(NamedTuple):
    """A row as its file gives it, in Python's own values; one with a `reason` is defective."""

    number: int
    """Where a person finds it: in a text file the line that it begins at, the first line being 1 (a CSV's header is a
    line); in a Parquet file its index, the first row being 0."""
    id: Any = None
    texts: tuple[Any, ...] = ()
    """The values of the text columns, in order."""
    label: Any = None
    key: Any = None
    """What its split is drawn from where that is not the text: a group or a time."""
    reason: str | None = None

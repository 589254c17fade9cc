"""What is known of a file of a source before it is read."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SourceFile:
    """A file of a source."""

    source_index: int
    """Index of the source in the configuration."""
    file_index: int
    """Index among the source's files, which are sorted by path."""
    path: Path
    format: str
    id_prefix: str
    path_columns: dict[str, str | None]
    """Columns given by the directories below the source: label=positive/."""
    size_bytes: int

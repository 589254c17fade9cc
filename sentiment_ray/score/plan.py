"""Which rows there are to score: files, row groups, units; reads footers only and scores nothing."""

import glob
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.score.config import ScoreConfig


@dataclass(frozen=True)
class Unit:
    """Row groups of one file that are scored together and become one part; `first_row` is the place in the file."""

    path: str
    part: str
    row_groups: tuple[int, ...]
    first_row: int
    num_rows: int


@dataclass(frozen=True)
class BadFile:
    """A file that cannot be scored, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """Everything that is to be done, and the files that cannot be."""

    files: list[Path]
    units: list[Unit]
    bad_files: list[BadFile]


def plan_units(config: ScoreConfig, root: Path, output: Path, new_columns: tuple[str, ...]) -> Plan:
    """List the files below `root`, read every footer and cut what can be scored into units.

    A file that is unreadable or lacks a column is set aside with its reason; DataError when that leaves none.
    """
    files = list_files(root, output)
    base = root if root.is_dir() else _fixed_part(root)
    units: list[Unit] = []
    bad_files: list[BadFile] = []
    for path in files:
        try:
            file = parquet.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            bad_files.append(BadFile(str(path), f"not a Parquet file that can be read ({_first_line(error)})"))
            continue
        with file:
            reason = _schema_defect(file.schema_arrow, config, new_columns, path)
            if reason:
                bad_files.append(BadFile(str(path), reason))
            else:
                units.extend(_cut(file.metadata, path, path.relative_to(base), config.unit_rows))
    if not units:
        raise DataError(f"{bad_files[0].path}: {bad_files[0].reason}. None of {len(files)} files can be scored.")
    return Plan(files, units, bad_files)


def list_files(root: Path, output: Path) -> list[Path]:
    """Return the Parquet files of a file, directory or glob in order; names that start with _ or . are no data."""
    if root.is_dir():
        if output.is_relative_to(root):
            raise ConfigError(
                f"output = {str(output)!r} lies inside the input {str(root)!r}. Name a directory outside it."
            )
        below = (path for path in root.rglob("*.parquet") if path.is_file())
        files = [path for path in below if not any(part[0] in "_." for part in path.relative_to(root).parts)]
    else:
        files = [Path(name) for name in glob.glob(str(root), recursive=True) if Path(name).is_file()]
    if not files:
        raise DataError(f"input = {str(root)!r}: there is no Parquet file. Name a file, a directory or a glob.")
    return sorted(files)


def _fixed_part(pattern: Path) -> Path:
    """Return the directory above the first part of a path that has a wildcard, or above the file itself."""
    fixed = Path(pattern.anchor)
    for part in pattern.parts[1:-1]:
        if glob.has_magic(part):
            break
        fixed /= part
    return fixed


def _schema_defect(schema: pa.Schema, config: ScoreConfig, new_columns: tuple[str, ...], path: Path) -> str | None:
    """Return why no row of a file can be scored, or None; ConfigError for a clash that concerns every file."""
    found = ", ".join(schema.names)
    for column in (config.text_column, *config.columns):
        if column not in schema.names:
            return (
                f"column {column!r} is missing (found: {found}); pass --text-column or --columns with one that is there"
            )
    kind = schema.field(config.text_column).type
    if not _is_text(kind):
        return f"column {config.text_column!r} is {kind}, not text; pass --text-column with another"
    clash = [name for name in new_columns if name in (config.columns or schema.names)]
    if clash:
        raise ConfigError(
            f"{path}: column {clash[0]!r} is already there and would be written again. "
            "Leave it out with --columns, or rename it."
        )
    return None


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(check(value) for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _cut(metadata: parquet.FileMetaData, path: Path, relative: Path, unit_rows: int) -> list[Unit]:
    """Group neighbouring row groups into units of at most `unit_rows` rows (a larger row group makes its own)."""
    groups: list[list[int]] = []
    rows: list[int] = []
    for index in range(metadata.num_row_groups):
        num_rows = metadata.row_group(index).num_rows
        if groups and rows[-1] + num_rows <= unit_rows:
            groups[-1].append(index)
            rows[-1] += num_rows
        else:
            groups.append([index])
            rows.append(num_rows)
    if not groups:
        groups, rows = [[]], [0]
    names = (
        [relative]
        if len(groups) == 1
        else [relative.with_name(f"{relative.stem}-{number:05d}.parquet") for number in range(len(groups))]
    )
    starts = [sum(rows[:number]) for number in range(len(rows))]
    return [
        Unit(str(path), name.as_posix(), tuple(group), start, count)
        for name, group, start, count in zip(names, groups, starts, rows, strict=True)
    ]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")

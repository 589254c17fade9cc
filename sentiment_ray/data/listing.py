"""Finds the files of every source and checks them before any work; reads their headers and footers, no rows."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sentiment_ray.data.config import PrepareConfig, Source
from sentiment_ray.data.parquet_files import columns_of_parquet, row_groups
from sentiment_ray.data.text_files import columns_of_text_file
from sentiment_ray.data.units import Unit
from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.manifest import local_path

ENDINGS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
GZIP_FACTOR = 4
"""How much larger text is than its .gz, roughly."""


@dataclass(frozen=True)
class InputFile:
    """A file of a source."""

    source: int
    """Place of its source in the configuration."""
    number: int
    """Place among its source's files, which are sorted by path."""
    path: Path
    format: str
    id_prefix: str


def resolve(config: PrepareConfig) -> PrepareConfig:
    """Return the configuration with absolute paths and a name for every source; ConfigError when two have the same."""
    sources = [
        source.model_copy(update={"path": str(path), "name": source.name or _name_of(path)})
        for source in config.sources
        for path in [local_path(source.path, "path of a source")]
    ]
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"Two sources are called {name!r}. Give each another name in [[prepare.sources]].")
    output = str(local_path(config.output, "output"))
    model = config.model and str(local_path(config.model, "model"))
    return config.model_copy(update={"sources": tuple(sources), "output": output, "model": model})


def list_files(config: PrepareConfig) -> list[InputFile]:
    """Return the files of all sources in order; DataError when a source has none.

    A directory is searched recursively; hidden names and those that begin with _ are passed over in it.
    """
    output = Path(config.output)
    files = []
    for number, source in enumerate(config.sources):
        root = _root_of(Path(source.path))
        paths = _paths_of(source, root)
        if Path(source.path) in output.parents or any(output in (path, *path.parents) for path in paths):
            raise ConfigError(
                f"output = {config.output!r} and the source {source.path!r} lie in one another, so the result would be "
                "read as input. Name another output."
            )
        for place, path in enumerate(paths):
            inner = path.relative_to(root).as_posix()
            prefix = source.name if inner == "." else f"{source.name}/{inner}"
            files.append(InputFile(number, place, path, _format_of(path, source), prefix))
    return files


def check_files(config: PrepareConfig, files: Sequence[InputFile]) -> list[Unit]:
    """Return what is to be read; DataError naming the first file that cannot be, or that lacks a column."""
    units = []
    for file in files:
        source = config.sources[file.source]
        _check_columns(file, source)
        units.extend(_units_of(file, source))
    return units


def _name_of(path: Path) -> str:
    root = _root_of(path)
    return root.name if root.is_dir() else root.name.split(".")[0]


def _root_of(path: Path) -> Path:
    """Return the path itself, or of a glob the directory above its first wildcard."""
    if path.exists():
        return path
    return next((parent for parent in (path, *path.parents) if not glob.has_magic(str(parent))), path)


def _paths_of(source: Source, root: Path) -> list[Path]:
    path = Path(source.path)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.is_file() and _is_wanted(file, source, path)]
        wanted = f"a file that ends in {', '.join(ENDINGS)}" if source.format == "auto" else f"a {source.format} file"
    elif root != path:
        found = [Path(file) for file in glob.glob(source.path, recursive=True) if Path(file).is_file()]
        wanted = "a file"
    else:
        raise DataError(f"{path} does not exist (source {source.name!r}). Correct its path.")
    if not found:
        raise DataError(f"{path} holds not {wanted} (source {source.name!r}). Correct its path or its format.")
    return sorted(found)


def _is_wanted(file: Path, source: Source, root: Path) -> bool:
    if any(part.startswith((".", "_")) for part in file.relative_to(root).parts):
        return False
    by_ending = _format_by_ending(file)
    return by_ending is not None if source.format == "auto" else by_ending == _container(source.format)


def _format_of(path: Path, source: Source) -> str:
    if source.format != "auto":
        return source.format
    by_ending = _format_by_ending(path)
    if by_ending is None:
        raise DataError(
            f"{path}: its ending says no format (known: {', '.join(ENDINGS)}). Pass --format, or set format for the "
            f"source {source.name!r}."
        )
    return by_ending


def _format_by_ending(path: Path) -> str | None:
    gzipped = path.suffix == ".gz"
    found = ENDINGS.get((path.with_suffix("") if gzipped else path).suffix.lower())
    return None if gzipped and found == "parquet" else found


def _container(file_format: str) -> str:
    return "jsonl" if file_format == "chat" else file_format


def _check_columns(file: InputFile, source: Source) -> None:
    is_parquet = file.format == "parquet"
    columns = columns_of_parquet(file.path) if is_parquet else columns_of_text_file(file.path, file.format)
    if file.format == "chat":
        if columns and "messages" not in columns:
            raise DataError(
                f"{file.path}: the key 'messages' of a chat is missing (found: {_few(columns)}). "
                "Pass --format jsonl if it has a text and a label a line."
            )
        return
    if file.format == "jsonl" and not columns:
        return
    for key in ("text_column", "label_column", "id_column"):
        name = getattr(source, key)
        if name and name not in columns:
            looks_like_chat = "messages" in columns
            flag = "--format chat" if looks_like_chat else f"--{key.replace('_', '-')}"
            raise DataError(
                f"{file.path}: the column {name!r} is missing (found: {_few(columns)}). Pass {flag}, or set "
                f"{'format' if looks_like_chat else key} for the source {source.name!r}."
            )


def _few(columns: list[str]) -> str:
    return ", ".join(columns[:20]) + (", ..." if len(columns) > 20 else "")


def _units_of(file: InputFile, source: Source) -> list[Unit]:
    if file.format != "parquet":
        size = file.path.stat().st_size * (GZIP_FACTOR if file.path.suffix == ".gz" else 1)
        return [Unit(file.source, file.number, str(file.path), file.format, file.id_prefix, size)]
    names = [name for name in (source.text_column, source.label_column, source.id_column) if name]
    return [
        Unit(file.source, file.number, str(file.path), file.format, file.id_prefix, size, row_group, first_row)
        for row_group, first_row, size in row_groups(file.path, columns=names)
    ]

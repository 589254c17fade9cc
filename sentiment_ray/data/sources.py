"""Finds the files of every source and checks them before any work; reads their headers and footers, no rows."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from sentiment_ray.data.config import PrepareConfig, Source
from sentiment_ray.data.readers.delimited import COMPRESSIONS, columns_of_text_file
from sentiment_ray.data.readers.parquet import is_label, is_text, row_groups, schema_of_parquet
from sentiment_ray.data.readers.units import Unit
from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.manifest import local_path
from sentiment_ray.parquet_types import hive_values

ENDINGS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
COMPRESSION_FACTOR = 4
"""How much larger text is than its .gz or .zst, roughly."""


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
    partition: dict[str, str | None]
    """Columns that stand in its path below its source: label=positive/."""


def resolve(config: PrepareConfig) -> PrepareConfig:
    """Return the configuration with absolute paths and a name for every source; ConfigError when two have the same."""
    sources = [
        source.model_copy(
            update={"path": str(path), "name": source.name or _name_of(path), **_key_columns(config, source)}
        )
        for source in config.sources
        for path in [local_path(source.path, "path of a source")]
    ]
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"Two sources are called {name!r}. Give each another name in [[prepare.sources]].")
    output = str(local_path(config.output, "output"))
    to_chat = config.to_chat and str(local_path(config.to_chat, "to_chat"))
    tokenizer = config.hosted.tokenizer and str(local_path(config.hosted.tokenizer, "tokenizer of [prepare.hosted]"))
    hosted = config.hosted.model_copy(update={"tokenizer": tokenizer})
    model = config.model and str(local_path(config.model, "model"))
    paths = {"output": output, "to_chat": to_chat, "hosted": hosted, "model": model}
    return config.model_copy(update={"sources": tuple(sources), **paths})


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
            _check_name(path)
            inner = path.relative_to(root).as_posix()
            prefix = source.name if inner == "." else f"{source.name}/{inner}"
            partition = hive_values(path.relative_to(root).parts[:-1])
            files.append(InputFile(number, place, path, _format_of(path, source), prefix, partition))
    return files


def check_files(config: PrepareConfig, files: Sequence[InputFile]) -> list[Unit]:
    """Return what is to be read; DataError naming the first file that cannot be, or that lacks a column."""
    units = []
    for file in files:
        source = config.sources[file.source]
        _check_columns(file, source)
        units.extend(_units_of(file))
    return units


def _key_columns(config: PrepareConfig, source: Source) -> dict[str, str | None]:
    """Return the columns that splits are drawn from: the source's own or, where rows are divided, that of all."""
    names = ("group_column", "time_column")
    return {
        name: getattr(source, name) or (getattr(config, name) if source.split == "auto" else None) for name in names
    }


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
        found = [file for file in path.rglob("*") if _is_wanted(file, source, path) and _is_file(file)]
        wanted = f"a file that ends in {', '.join(ENDINGS)}" if source.format == "auto" else f"a {source.format} file"
    elif root != path:
        found = [Path(file) for file in glob.glob(source.path, recursive=True) if _is_file(Path(file))]
        wanted = "a file"
    else:
        found_instead = "is a link to nothing" if path.is_symlink() else "does not exist"
        raise DataError(f"{path} {found_instead} (source {source.name!r}). Correct its path.")
    if not found:
        raise DataError(f"{path} does not hold {wanted} (source {source.name!r}). Correct its path or its format.")
    return sorted(found)


def passed_over(source: Source) -> list[str]:
    """Return what a source's directory holds that is not read, by its path in it: other files, links to directories.

    Names that begin with . or _ are not counted: they are no data by convention.
    """
    root = Path(source.path)
    if not root.is_dir():
        return []
    others = (path for path in root.rglob("*") if not _is_hidden(path, root) and not _is_wanted(path, source, root))
    return sorted(
        path.relative_to(root).as_posix() for path in others if path.is_file() or (path.is_symlink() and path.is_dir())
    )


def tell_passed_over(config: PrepareConfig) -> None:
    """Warn on stderr of files in a source's directory that are not read."""
    for source in config.sources:
        names = passed_over(source)
        if names:
            click.echo(
                f"warning: {len(names)} of the files in {source.path} are not read, for their endings are of another "
                f"format or they are links to directories: {_few(names)}. Name them in a source of their own.",
                err=True,
            )


def _is_hidden(file: Path, root: Path) -> bool:
    return any(part.startswith((".", "_")) for part in file.relative_to(root).parts)


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = str(path).encode(errors="surrogateescape").decode(errors="replace")
        raise DataError(f"{shown}: the name is not UTF-8, so no report could name the file. Rename it.") from None


def _is_wanted(file: Path, source: Source, root: Path) -> bool:
    if _is_hidden(file, root):
        return False
    by_ending = _format_by_ending(file)
    return by_ending is not None if source.format == "auto" else by_ending == _container(source.format)


def _is_file(path: Path) -> bool:
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path} is a link to nothing. Restore what it points at, or remove it.")
    return path.is_file()


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
    compressed = path.suffix in COMPRESSIONS
    found = ENDINGS.get((path.with_suffix("") if compressed else path).suffix.lower())
    return None if compressed and found == "parquet" else found


def _container(file_format: str) -> str:
    return "jsonl" if file_format == "chat" else file_format


def _check_columns(file: InputFile, source: Source) -> None:
    """Refuse a file that lacks a column, has it twice, or has it in a type that holds no texts or labels."""
    schema = schema_of_parquet(file.path) if file.format == "parquet" else None
    keys = () if file.format == "chat" else sum(_names_by_key(source).values(), ())
    columns = schema.names if schema else columns_of_text_file(file.path, file.format, wanted=keys)
    if file.format == "chat":
        if columns and "messages" not in columns:
            raise DataError(
                f"{file.path}: the key 'messages' of a chat is missing (found: {_few(columns)}). "
                "Pass --format jsonl if it has a text and a label a line."
            )
        return
    if file.format == "jsonl" and not columns:
        return
    for key, names in _names_by_key(source).items():
        flag = "" if key == "id_column" else f"Pass --{key.replace('_', '-')}, or s"
        remedy = f"{flag or 'S'}et {key} for the source {source.name!r}."
        for name in names:
            _check_column(file, name, columns, remedy)
            if schema and name in columns and key in ("text_column", "label_column"):
                kind = schema.field(name).type
                if not (is_text(kind) if key == "text_column" else is_label(kind)):
                    wanted = "texts" if key == "text_column" else "texts or numbers"
                    raise DataError(f"{file.path}: the column {name!r} holds {kind}, not {wanted}. {remedy}")


def _check_column(file: InputFile, name: str, columns: list[str], remedy: str) -> None:
    times = columns.count(name)
    if times > 1:
        raise DataError(f"{file.path}: the column {name!r} is there {times} times. Rename all but one of them.")
    if times or name in file.partition:
        return
    found = f"{file.path}: the column {name!r} is missing (found: {_few([*columns, *file.partition])})."
    if "messages" in columns:
        remedy = f"Pass --format chat, or set format for the source {file.id_prefix.partition('/')[0]!r}."
    raise DataError(f"{found} {remedy}")


def _names_by_key(source: Source) -> dict[str, tuple[str, ...]]:
    return {
        "text_column": source.text_column,
        "label_column": (source.label_column,),
        "id_column": (source.id_column,) if source.id_column else (),
        "group_column": (source.group_column,) if source.group_column else (),
        "time_column": (source.time_column,) if source.time_column else (),
    }


def _few(columns: list[str]) -> str:
    return ", ".join(columns[:20]) + (", ..." if len(columns) > 20 else "")


def _units_of(file: InputFile) -> list[Unit]:
    known = (file.source, file.number, str(file.path), file.format, file.id_prefix)
    if file.format != "parquet":
        size = file.path.stat().st_size * (COMPRESSION_FACTOR if file.path.suffix in COMPRESSIONS else 1)
        return [Unit(*known, size, partition=file.partition)]
    return [
        Unit(*known, size, row_group, first_row, file.partition) for row_group, first_row, size in row_groups(file.path)
    ]

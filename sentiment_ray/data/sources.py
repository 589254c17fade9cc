"""Finds the files of every source and cuts them into read tasks; reads headers and footers, no rows."""

import glob
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentiment_ray import log
from sentiment_ray.column_names import quote_names
from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.readers.parquet import Footer, read_footer
from sentiment_ray.data.readers.read_task import ReadTask
from sentiment_ray.data.readers.text_lines import COMPRESSED_SUFFIXES
from sentiment_ray.data.source_columns import check_columns, recognise_chat
from sentiment_ray.data.source_config import Source
from sentiment_ray.data.source_file import SourceFile
from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.parquet_types import parse_hive_columns
from sentiment_ray.paths import local_path

FORMATS_BY_SUFFIX = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
COMPRESSION_FACTOR = 4
"""Typical size of a text, in sizes of its .gz or .zst."""


def resolve_paths(config: PrepareConfig) -> PrepareConfig:
    """Return the configuration with absolute paths, a name for every source, and the columns that decide on its splits.

    ConfigError if two sources have the same name, or if a path is a URL.
    """
    sources = []
    for source in config.sources:
        path = local_path(source.path, "path of a source")
        changes = {"path": str(path), "name": source.name or _derive_name(path)} | _resolve_key_columns(config, source)
        sources.append(source.model_copy(update=changes))
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"Two sources have the name {name!r}. Give each a name of its own in [[prepare.sources]]."
            )
    tokenizer = config.hosted.tokenizer and str(local_path(config.hosted.tokenizer, "tokenizer of [prepare.hosted]"))
    return config.model_copy(
        update={
            "sources": tuple(sources),
            "output": str(local_path(config.output, "output")),
            "to_chat": config.to_chat and str(local_path(config.to_chat, "to_chat")),
            "hosted": config.hosted.model_copy(update={"tokenizer": tokenizer}),
            "model": config.model and str(local_path(config.model, "model")),
        }
    )


def list_files(config: PrepareConfig) -> list[SourceFile]:
    """Return the files of all sources in order; DataError if a source has none.

    A directory is searched with its subdirectories. Names that begin with . or _ are skipped there.
    """
    output = Path(config.output)
    files = []
    for source_index, source in enumerate(config.sources):
        root = _find_root(Path(source.path))
        paths = _find_paths(source, root)
        if Path(source.path) in output.parents or any(output in (path, *path.parents) for path in paths):
            raise ConfigError(
                f"output = {config.output!r} and the source {source.path!r} overlap, so the result would become input. "
                "Name another output."
            )
        for file_index, path in enumerate(paths):
            _check_name(path)
            inner = path.relative_to(root)
            id_prefix = source.name if inner == Path() else f"{source.name}/{inner.as_posix()}"
            columns = parse_hive_columns(inner.parts[:-1])
            files.append(SourceFile(source_index, file_index, path, _find_format(path, source), id_prefix, columns))
    return files


def make_read_tasks(config: PrepareConfig, files: Sequence[SourceFile]) -> list[ReadTask]:
    """Check all files and return what to read; DataError names the first file that is unreadable or lacks a column."""
    tasks = []
    for file in files:
        footer = read_footer(file.path) if file.format == "parquet" else None
        source = config.sources[file.source_index]
        file = recognise_chat(file, source)
        check_columns(file, source, footer)
        tasks.extend(_split_into_tasks(file, footer))
    return tasks


def describe_sources(config: PrepareConfig, files: Sequence[SourceFile]) -> list[dict[str, Any]]:
    """Return what prepared.json says about each source; warn on stderr about files in it that are not read."""
    descriptions = []
    for index, source in enumerate(config.sources):
        skipped = _list_skipped_files(source)
        if skipped:
            log.notify(
                f"{len(skipped)} files in {source.path} are not read, because they have another format or are "
                f"links to directories: {quote_names(skipped)}. To read them, name them in a source of their own.",
                level=logging.WARNING,
            )
        num_files = sum(file.source_index == index for file in files)
        descriptions.append(source.model_dump(mode="json") | {"files": num_files, "passed_over": len(skipped)})
    return descriptions


def _resolve_key_columns(config: PrepareConfig, source: Source) -> dict[str, str | None]:
    """Return the columns that decide on splits: the source's own or, if its rows are split, those of [prepare]."""
    names = ("group_column", "time_column")
    return {
        name: getattr(source, name) or (getattr(config, name) if source.split == "auto" else None) for name in names
    }


def _derive_name(path: Path) -> str:
    root = _find_root(path)
    return root.name if root.is_dir() else root.name.split(".")[0]


def _find_root(path: Path) -> Path:
    """Return the path itself or, for a glob, the directory above its first wildcard."""
    if path.exists():
        return path
    return next((parent for parent in (path, *path.parents) if not glob.has_magic(str(parent))), path)


def _find_paths(source: Source, root: Path) -> list[Path]:
    path = Path(source.path)
    if path.is_file():
        return [path]
    if path.is_dir():
        paths = [file for file in path.rglob("*") if _has_format(file, source, path) and _is_file(file)]
        suffixes = ", ".join(FORMATS_BY_SUFFIX)
        expected = f"a file that ends in {suffixes}" if source.format == "auto" else f"a {source.format} file"
    elif root != path:
        paths = [Path(file) for file in glob.glob(source.path, recursive=True) if _is_file(Path(file))]
        expected = "a file"
    else:
        defect = "is a link to a missing file" if path.is_symlink() else "does not exist"
        raise DataError(f"{path} {defect} (source {source.name!r}). Correct its path.")
    if not paths:
        raise DataError(f"{path} does not hold {expected} (source {source.name!r}). Correct its path or its format.")
    return sorted(paths)


def _list_skipped_files(source: Source) -> list[str]:
    """Return the paths in a source's directory that are not read: files of other formats, links to directories.

    Names that begin with . or _ are not listed: by convention they are not data.
    """
    root = Path(source.path)
    if not root.is_dir():
        return []
    others = (path for path in root.rglob("*") if not _is_hidden(path, root) and not _has_format(path, source, root))
    return sorted(
        path.relative_to(root).as_posix() for path in others if path.is_file() or (path.is_symlink() and path.is_dir())
    )


def _is_hidden(file: Path, root: Path) -> bool:
    return any(part.startswith((".", "_")) for part in file.relative_to(root).parts)


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = str(path).encode(errors="surrogateescape").decode(errors="replace")
        raise DataError(f"{shown}: the name is not UTF-8, so no report could show it. Rename the file.") from None


def _has_format(file: Path, source: Source, root: Path) -> bool:
    if _is_hidden(file, root):
        return False
    found = _format_by_suffix(file)
    # A chat file has the suffix of a JSON Lines file.
    return (
        found is not None if source.format == "auto" else found == {"chat": "jsonl"}.get(source.format, source.format)
    )


def _is_file(path: Path) -> bool:
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path} is a link to a missing file. Restore the file, or remove the link.")
    return path.is_file()


def _find_format(path: Path, source: Source) -> str:
    if source.format != "auto":
        return source.format
    found = _format_by_suffix(path)
    if found is None:
        raise DataError(
            f"{path}: its ending names no format (known: {', '.join(FORMATS_BY_SUFFIX)}). Pass --format, or set format "
            f"for the source {source.name!r}."
        )
    return found


def _format_by_suffix(path: Path) -> str | None:
    is_compressed = path.suffix in COMPRESSED_SUFFIXES
    found = FORMATS_BY_SUFFIX.get((path.with_suffix("") if is_compressed else path).suffix.lower())
    return None if is_compressed and found == "parquet" else found


def _split_into_tasks(file: SourceFile, footer: Footer | None) -> list[ReadTask]:
    common = (file.source_index, file.file_index, str(file.path), file.format, file.id_prefix)
    if footer:
        return [
            ReadTask(*common, group.size_bytes, group.index, group.first_row, file.path_columns)
            for group in footer.row_groups
        ]
    factor = COMPRESSION_FACTOR if file.path.suffix in COMPRESSED_SUFFIXES else 1
    return [ReadTask(*common, file.path.stat().st_size * factor, path_columns=file.path_columns)]

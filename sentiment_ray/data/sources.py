"""Lists the files of every source and cuts them into read tasks; reads headers and footers, no rows."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sentiment_ray import log
from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.copied_columns import choose_copied_columns
from sentiment_ray.data.readers.content import read_start
from sentiment_ray.data.readers.faults import retry_reading
from sentiment_ray.data.readers.parquet import Footer, read_footer
from sentiment_ray.data.readers.read_task import ReadTask
from sentiment_ray.data.source_columns import check_columns, find_types, recognise_chat
from sentiment_ray.data.source_config import Source
from sentiment_ray.data.source_file import SourceFile
from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.input_files.content import suggest_format
from sentiment_ray.input_files.listing import InputFile, Listing, list_input, quote_name, refuse_overlap
from sentiment_ray.input_files.location import find_root
from sentiment_ray.input_files.names import COMPRESSED_SUFFIXES, FORMATS_BY_SUFFIX, parse_hive_columns
from sentiment_ray.paths import local_path

COMPRESSION_FACTOR = 4
"""Typical size of a text, in sizes of its .gz or .zst."""
UNREAD_COMPRESSION = (".snappy", ".br", ".lzo", ".deflate", ".lzma", ".z")
"""Endings of compressed files that have no mark at their beginning."""


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
    tokenizer = _optional_path(config.hosted.tokenizer, "tokenizer of [prepare.hosted]")
    return config.model_copy(
        update={
            "sources": tuple(sources),
            "output": str(local_path(config.output, "output")),
            "to_chat": _optional_path(config.to_chat, "to_chat"),
            "hosted": config.hosted.model_copy(update={"tokenizer": tokenizer}),
            "model": _optional_path(config.model, "model"),
        }
    )


def _optional_path(path: str | None, key: str) -> str | None:
    return None if path is None else str(local_path(path, key))


def list_sources(config: PrepareConfig) -> list[Listing]:
    """Return the files of each source, and name on stderr what else is there; errors as `input_files.list_input`.

    ConfigError if the output overlaps with a source.
    """
    listings = []
    for source in config.sources:
        formats = set(FORMATS_BY_SUFFIX.values())
        stated = None if source.format == "auto" else source.format
        # A chat file has the ending of a JSON Lines file.
        listing = list_input(
            source.path,
            label=f"source {source.name!r}: {quote_name(source.path)}",
            formats=formats if stated is None else {"jsonl" if stated == "chat" else stated},
            stated_format=stated,
        )
        refuse_overlap(listing, config.output, label=f"the source {source.path!r}")
        listing.warn_about_left_out("To read them, name them in a source of their own.")
        listings.append(listing)
    _warn_about_shared_files(config, listings)
    return listings


def list_files(config: PrepareConfig) -> list[SourceFile]:
    """Return the files of all sources in order; errors as `list_sources`."""
    return make_source_files(config, list_sources(config))


def make_source_files(config: PrepareConfig, listings: Sequence[Listing]) -> list[SourceFile]:
    """Return the files in `listings`, one for each source, in order."""
    files = []
    for source_index, (source, listing) in enumerate(zip(config.sources, listings, strict=True)):
        by_parts = sorted(listing.files, key=lambda file: file.name.split("/"))
        for file_index, file in enumerate(by_parts):
            is_alone = listing.kind == "file"
            id_prefix = source.name if is_alone else f"{source.name}/{file.name}"
            columns = {} if is_alone else parse_hive_columns(file.name.split("/")[:-1])
            file_format = file.format or _refuse_unknown_format(file, source)
            files.append(
                SourceFile(source_index, file_index, Path(file.path), file_format, id_prefix, columns, file.bytes)
            )
    return files


def make_read_tasks(config: PrepareConfig, files: Sequence[SourceFile]) -> list[ReadTask]:
    """Check all files and return what to read; DataError names the first file that is damaged or lacks a column.

    StorageError if this machine cannot read a file.
    """
    tasks: list[ReadTask] = []
    types, known_names = [], dict[str, None]()
    for file in files:
        file, footer, columns = retry_reading(partial(_examine, file, config))
        tasks.extend(_split_into_tasks(file, footer))
        if config.columns and (footer is None or footer.row_groups):
            types.append((file, find_types(config.columns, file, columns, footer)))
            known_names |= dict.fromkeys([*columns, *file.path_columns])
    copied = choose_copied_columns(config.columns, types, known_names)
    return [replace(task, copied=copied) for task in tasks] if config.columns else tasks


def _examine(file: SourceFile, config: PrepareConfig) -> tuple[SourceFile, Footer | None, list[str]]:
    """Return a file with the format that its content tells, its footer if it is Parquet, and its columns."""
    footer = read_footer(file.path) if file.format == "parquet" else None
    source = config.sources[file.source_index]
    file = recognise_chat(file, source)
    return file, footer, check_columns(file, source, footer, config.columns)


def describe_sources(config: PrepareConfig, listings: Sequence[Listing]) -> list[dict[str, Any]]:
    """Return what prepared.json says about each source."""
    return [
        source.model_dump(mode="json")
        | {
            "files": len(listing.files),
            "passed_over": listing.count_surprises(),
            "left_out_files": listing.describe_left_out(),
        }
        for source, listing in zip(config.sources, listings, strict=True)
    ]


def _resolve_key_columns(config: PrepareConfig, source: Source) -> dict[str, str | None]:
    """Return the columns that decide on splits: the source's own or, if its rows are split, those of [prepare]."""
    names = ("group_column", "time_column")
    return {
        name: getattr(source, name) or (getattr(config, name) if source.split == "auto" else None) for name in names
    }


def _derive_name(path: Path) -> str:
    root = find_root(path)
    return root.name if root.is_dir() else root.name.split(".")[0]


def _warn_about_shared_files(config: PrepareConfig, listings: Sequence[Listing]) -> None:
    sources: dict[str, str] = {}
    shared = []
    for source, listing in zip(config.sources, listings, strict=True):
        paths = [file.path for file in listing.files]
        shared += [f"{path} ({sources[path]}, {source.name})" for path in paths if path in sources]
        sources |= dict.fromkeys(paths, source.name)
    if shared:
        more = f" and {len(shared) - 1:,} more files" if len(shared) > 1 else ""
        log.notify(f"Two sources read the same file: {shared[0]}{more}.", level=logging.WARNING)


def _refuse_unknown_format(file: InputFile, source: Source) -> str:
    known = ", ".join(FORMATS_BY_SUFFIX)
    advice = suggest_format(retry_reading(partial(read_start, Path(file.path))))
    if not advice and Path(file.path).suffix.lower() in UNREAD_COMPRESSION:
        advice = "Its ending says that it is compressed, in a way that is not read. Unpack it"
    advice = advice or f"Pass --format, or set format for the source {source.name!r}"
    raise DataError(f"{file.path}: its ending names no format (known: {known}). {advice}.")


def _split_into_tasks(file: SourceFile, footer: Footer | None) -> list[ReadTask]:
    common = (file.source_index, file.file_index, str(file.path), file.format, file.id_prefix)
    if footer:
        return [
            ReadTask(*common, group.size_bytes, group.index, group.first_row, file.path_columns)
            for group in footer.row_groups
        ]
    factor = COMPRESSION_FACTOR if file.path.suffix.lower() in COMPRESSED_SUFFIXES else 1
    return [ReadTask(*common, file.size_bytes * factor, path_columns=file.path_columns)]

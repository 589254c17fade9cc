"""Writes prepared splits as chat files for hosted fine-tuning APIs; reads the prepared rows alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sentiment_ray.atomic_files import new_directory
from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.errors import ConfigError
from sentiment_ray.manifest import format_json, read_json, write_json
from sentiment_ray.paths import check_output

MANIFEST_NAME = "chat.json"
FILES = {split: f"{split}.jsonl" for split in SPLITS}
COLUMN_FILES = {split: f"{split}.columns.parquet" for split in SPLITS}
"""The ids and the copied columns of the examples, a row for each line: hosted APIs refuse unknown keys in a line."""
BATCH_ROWS = 10_000
LINE_ENDS = {ord(character): f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"}
"""Characters that JSON allows in a string but some readers take for the end of a line."""


def check_target(config: PrepareConfig) -> None:
    """ConfigError unless `to_chat` is new or was written by an earlier run, and overlaps with no other path.

    The paths of `config` must be absolute.
    """
    if config.to_chat is None:
        return
    target = Path(config.to_chat)
    for other in (config.output, *(source.path for source in config.sources)):
        path = Path(other)
        if target == path or target in path.parents or path in target.parents:
            raise ConfigError(f"to_chat = {str(target)!r} and {other!r} overlap. Name another directory.")
    check_output(target, "to_chat", replaces_directory=True)
    names = {path.name for path in target.iterdir()} if target.exists() else set()
    if names and (MANIFEST_NAME not in names or names - {MANIFEST_NAME, *FILES.values(), *COLUMN_FILES.values()}):
        raise ConfigError(
            f"to_chat = {str(target)!r} already exists and holds files that --to-chat did not write. Name another "
            "directory."
        )


def write_chats(config: PrepareConfig, prepared: Path, fingerprint: str) -> None:
    """Write each split that has rows as a chat file, all of them or none; skip what an earlier run has written.

    `fingerprint` is that of the prepared data.
    """
    if config.to_chat is None:
        return
    target = Path(config.to_chat)
    origin = {"made_from": fingerprint, "system_message": config.system_message}
    if _is_written(target, origin):
        return
    with new_directory(target) as directory:
        counts = {split: _write_split(prepared / split, directory / FILES[split], config) for split in SPLITS}
        for split in SPLITS if config.columns else ():
            _write_columns(prepared / split, directory / COLUMN_FILES[split], config)
        write_json(directory / MANIFEST_NAME, origin | {"counts": counts})


def _is_written(target: Path, origin: dict[str, Any]) -> bool:
    manifest = read_json(target / MANIFEST_NAME) if (target / MANIFEST_NAME).is_file() else {}
    return origin.items() <= manifest.items() and all(
        (target / FILES[split]).is_file() for split, count in manifest["counts"].items() if count
    )


def _write_split(split: Path, target: Path, config: PrepareConfig) -> int:
    """Write a split in batches and return its number of rows; write no file if it has none."""
    parts = sorted(split.glob("*.parquet"))
    if not parts:
        return 0
    num_rows = 0
    with target.open("w", encoding="utf-8", newline="\n") as file:
        for text, label in _read_rows(parts):
            file.write(_format_line(text, label, config.system_message))
            num_rows += 1
    return num_rows


def _write_columns(split: Path, target: Path, config: PrepareConfig) -> None:
    parts = sorted(split.glob("*.parquet"))
    names = ["id", *config.columns]
    if not parts:
        return
    with pq.ParquetWriter(target, pa.schema([pq.read_schema(parts[0]).field(name) for name in names])) as writer:
        for part in parts:
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches(BATCH_ROWS, columns=names):
                    writer.write_batch(batch.select(names))


def _read_rows(parts: list[Path]) -> Iterator[tuple[str, str]]:
    for part in parts:
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=["text", "label"]):
                yield from zip(batch["text"].to_pylist(), batch["label"].to_pylist(), strict=True)


def _format_line(text: str, label: str, system_message: str | None) -> str:
    contents = {"system": system_message, "user": text, "assistant": label}
    messages = [{"role": role, "content": content} for role, content in contents.items() if content is not None]
    return format_json({"messages": messages}, ensure_ascii=False).translate(LINE_ENDS) + "\n"

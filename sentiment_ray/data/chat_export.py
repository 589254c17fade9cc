"""Writes prepared splits as chat files, as hosted fine-tuning APIs take them; knows the result, no sources' formats."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.errors import ConfigError
from sentiment_ray.manifest import new_directory, read_json, write_json

MANIFEST_NAME = "chat.json"
FILES = {split: f"{split}.jsonl" for split in SPLITS}
BATCH_ROWS = 10_000
LINE_ENDS = {ord(letter): f"\\u{ord(letter):04x}" for letter in "\x85\u2028\u2029"}
"""What some readers take for the end of a line though JSON does not."""


def check_target(config: PrepareConfig) -> None:
    """ConfigError unless `to_chat` may be written: it is new or ours, and apart from the output and all sources.

    `config` is a resolved one.
    """
    if config.to_chat is None:
        return
    target = Path(config.to_chat)
    for other in (config.output, *(source.path for source in config.sources)):
        path = Path(other)
        if target == path or target in path.parents or path in target.parents:
            raise ConfigError(f"to_chat = {str(target)!r} and {other!r} lie in one another. Name another directory.")
    if not target.exists():
        return
    if not target.is_dir():
        raise ConfigError(f"to_chat = {str(target)!r} is a file, and three are written. Name a directory.")
    found = {path.name for path in target.iterdir()}
    if found and (MANIFEST_NAME not in found or found - {MANIFEST_NAME, *FILES.values()}):
        raise ConfigError(
            f"to_chat = {str(target)!r} already exists and holds other files than an earlier --to-chat wrote. "
            "Name another directory."
        )


def write_chats(config: PrepareConfig, prepared: Path, made_from: str) -> None:
    """Write each split that has rows as a chat file, all of them or none, unless they are there already.

    `made_from` is the fingerprint of the prepared data.
    """
    if config.to_chat is None:
        return
    target = Path(config.to_chat)
    wanted = {"made_from": made_from, "system_message": config.system_message}
    if _is_written(target, wanted):
        return
    with new_directory(target) as directory:
        counts = {split: _write_split(prepared / split, directory / FILES[split], config) for split in SPLITS}
        write_json(directory / MANIFEST_NAME, wanted | {"counts": counts})


def _is_written(target: Path, wanted: dict[str, Any]) -> bool:
    manifest = read_json(target / MANIFEST_NAME) if (target / MANIFEST_NAME).is_file() else {}
    return wanted.items() <= manifest.items() and all(
        (target / FILES[split]).is_file() for split, count in manifest["counts"].items() if count
    )


def _write_split(split: Path, target: Path, config: PrepareConfig) -> int:
    """Write a split, a batch in memory at a time, and return its number of rows; no file where there is none."""
    parts = sorted(split.glob("*.parquet"))
    if not parts:
        return 0
    num_rows = 0
    with target.open("w", encoding="utf-8", newline="\n") as file:
        for text, label in _rows(parts):
            file.write(_as_line(text, label, config.system_message))
            num_rows += 1
    return num_rows


def _rows(parts: list[Path]) -> Iterator[tuple[str, str]]:
    for part in parts:
        with pq.ParquetFile(part) as opened:
            for batch in opened.iter_batches(BATCH_ROWS, columns=["text", "label"]):
                yield from zip(batch["text"].to_pylist(), batch["label"].to_pylist(), strict=True)


def _as_line(text: str, label: str, system_message: str | None) -> str:
    said = {"system": system_message, "user": text, "assistant": label}
    messages = [{"role": role, "content": content} for role, content in said.items() if content is not None]
    return json.dumps({"messages": messages}, ensure_ascii=False).translate(LINE_ENDS) + "\n"

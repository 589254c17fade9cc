"""The finished trials of a search on disk, one line each; knows no Ray and no training."""

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sentiment_ray import log
from sentiment_ray.manifest import format_json

RECORDS_NAME = "trials.jsonl"


@dataclass(frozen=True)
class TrialRecord:
    """A trial that need not be trained again; the field names are the keys of its line.

    `score` and `history`, the metrics of each epoch, belong to a trial that was trained; `error` to one whose keys
    cannot be trained with, which would fail again.
    """

    keys: dict[str, Any]
    score: float | None = None
    history: list[dict[str, Any]] | None = None
    error: str | None = None

    def describe(self) -> dict[str, Any]:
        """Return the fields that the trial has."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def append_record(output: Path, record: TrialRecord) -> None:
    """Add the line of a trial; it is on the disk when this returns."""
    with (output / RECORDS_NAME).open("a", encoding="utf-8") as file:
        file.write(format_json(record.describe(), ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_records(output: Path) -> list[TrialRecord]:
    """Return the finished trials of a search. A line that a crash cut short is passed over, and named on stderr."""
    path = output / RECORDS_NAME
    records = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(TrialRecord(**json.loads(line)))
        except (ValueError, TypeError):
            log.notify(f"{path}: line {number} is damaged; its trial is trained again", level=logging.WARNING)
    return records


def write_records(output: Path, records: list[TrialRecord]) -> None:
    """Write the lines of some trials in the place of all others."""
    temporary = output / f".{RECORDS_NAME}.new"
    temporary.write_text("".join(format_json(each.describe(), ensure_ascii=False) + "\n" for each in records))
    temporary.replace(output / RECORDS_NAME)

"""Shared by all training contenders: arguments, reading of splits, the result line; knows no library."""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from pyarrow import parquet


@dataclass(frozen=True)
class Task:
    """The arguments of a training, the same for all contenders."""

    checkpoint: str
    input: str
    output: str
    threads: int
    epochs: int
    max_tokens: int
    learning_rate: float
    flags: frozenset[str]


def parse_task(description: str | None, *, flags: tuple[str, ...]) -> Task:
    """Read the command line; `flags` are the switches of this contender alone."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="encoder to start from")
    parser.add_argument("--input", required=True, help="directory with train/ and validation/, Parquet of text, label")
    parser.add_argument("--output", required=True, help="directory for the trained model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    for flag in flags:
        parser.add_argument(f"--{flag}", action="store_true")
    known, _ = parser.parse_known_args()
    values = vars(known)
    return Task(flags=frozenset(flag for flag in flags if values.pop(flag.replace("-", "_"))), **values)


def read_split(task: Task, split: str) -> tuple[list[str], list[str]]:
    """Return the texts and labels of a split."""
    table = parquet.read_table(Path(task.input) / split)
    return table["text"].to_pylist(), table["label"].to_pylist()


def print_figures(*, rows: int, tokens: int, seconds: float, accuracy: float, validation_loss: float) -> None:
    """Print the result line.

    `tokens` counts the tokens of all epochs without padding, `seconds` the training alone.
    """
    figures = {"rows": rows, "tokens": tokens, "seconds": round(seconds, 3), "accuracy": accuracy}
    sys.stdout.write(json.dumps(figures | {"validation_loss": validation_loss}) + "\n")

"""Trains the tiny encoder with the loop alone, without Ray; the rows are read as Ray's tasks read them."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyarrow import parquet
from safetensors.torch import load_file

from sentiment_ray.train.batches import Chunk
from sentiment_ray.train.checkpoint import Checkpoint, Progress, read_checkpoint
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.rows import make_chunk_reader
from sentiment_ray.train.setup import Worker
from sentiment_ray.train.shards import count_rows, plan_parts, split_source
from sentiment_ray.train.step_log import StepResult
from sentiment_ray.train.task import Task
from tests.conftest import LABELS

Train = Callable[..., list[dict[str, Any]]]
ReadChunks = Callable[[str, int, int], Iterator[Chunk]]
TIMES = ("seconds", "tokens_per_s")


@dataclass
class CheckpointStore:
    """Copies of the reported checkpoints, in order, and the results of the steps."""

    directory: Path
    paths: list[Path] = field(default_factory=list)
    steps: list[StepResult] = field(default_factory=list)

    def report(self, checkpoint: Path | None, name: str, progress: Progress, score: float | None) -> None:
        if checkpoint:
            self.paths.append(self.directory / f"{len(self.paths)}-{name}")
            shutil.copytree(checkpoint, self.paths[-1])

    def checkpoints(self) -> list[Checkpoint]:
        checkpoints = [read_checkpoint(path) for path in self.paths]
        return [checkpoint for checkpoint in checkpoints if checkpoint]


def make_reader(prepared: Path, rank: int = 0, world_size: int = 1) -> ReadChunks:
    """Return a function that reads a worker's rows of a split in one of their orders."""
    parts = {split: plan_parts([split_source(prepared, split)], seed=0) for split in ("train", "validation")}
    return make_chunk_reader(parts, LABELS, seed=0, rank=rank, world_size=world_size)


def break_row(read_chunks: ReadChunks, row: int) -> ReadChunks:
    """Read the same chunks, with a teacher who answers NaN for one training row: the loss of its step is NaN."""

    def read(split: str, num_rows: int, order: int) -> Iterator[Chunk]:
        for number, chunk in enumerate(read_chunks(split, num_rows, order)):
            teacher = np.zeros((len(chunk.texts), len(LABELS)), dtype=np.float32)
            if number == 0 and split == "train":
                teacher[row] = np.nan
            yield replace(chunk, teacher=teacher)

    return read


def make_worker(read_chunks: ReadChunks, **changes: Any) -> Worker:
    """Return a worker that trains alone on the CPU and reports nothing."""
    keys: dict[str, Any] = {
        "rank": 0, "world_size": 1, "device": torch.device("cpu"), "read_chunks": read_chunks,
        "wrap": lambda model: model, "report": lambda *checkpoint: None, "show": lambda epochs_done, loss: None,
    }  # fmt: skip
    return Worker(**keys | changes)


def make_config(tiny_encoder: Path, **changes: Any) -> TrainConfig:
    """Return a configuration of two epochs of small batches."""
    keys: dict[str, Any] = {
        "prepared": "p", "output": "o", "model": str(tiny_encoder), "epochs": 2, "learning_rate": 3e-3,
        "tokens_per_batch": 128, "max_tokens": 32, "dropout": 0.1, "precision": "fp32",
    }  # fmt: skip
    return TrainConfig(**keys | changes)


def make_task(prepared: Path, weights: list[float] | None = None, **changes: Any) -> Task:
    """Return the task of learning the labels of prepared reviews."""
    rows = count_rows(plan_parts([split_source(prepared, "train")], seed=0))
    return Task(LABELS, weights or [1.0] * len(LABELS), rows, **changes)


def copy_rows(prepared: Path, target: Path, rows: int, *, group_rows: int = 1000) -> Path:
    """Write the first training rows of prepared reviews, and all validation rows, to another directory."""
    for split in ("train", "validation"):
        (target / split).mkdir(parents=True)
        table = parquet.read_table(prepared / split)
        table = table.slice(0, rows) if split == "train" else table
        parquet.write_table(table, target / split / "part.parquet", row_group_size=group_rows)
    return target


def load_weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Return the weights of a checkpoint."""
    return load_file(checkpoint.path / "model.safetensors")


def have_equal_weights(one: Checkpoint, other: Checkpoint) -> bool:
    """Return whether two checkpoints hold the same weights, bit for bit."""
    first, second = load_weights(one), load_weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)

"""Trains with this project's loop, without Ray: the only module here that knows names inside sentiment_ray.train."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sentiment_ray.train.batches import Chunk
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.loop import fine_tune
from sentiment_ray.train.setup import Worker
from sentiment_ray.train.task import Task

MAX_VALIDATION_ROWS = 8
"""Validation is not measured here."""


def train_once(
    encoder: Path, texts: Sequence[str], label_ids: Sequence[int], *, labels: tuple[str, ...], device: str, **keys: Any
) -> dict[str, Any]:
    """Train one epoch and return its metrics; `keys` are those of [train]."""
    settings = {"prepared": "-", "output": "-", "epochs": 1, "checkpoint_every_s": 1e9}
    config = TrainConfig(**settings | {"model": str(encoder)} | keys)

    def read_chunks(split: str, num_rows: int, order: int) -> Iterator[Chunk]:
        end = len(texts) if split == "train" else min(len(texts), MAX_VALIDATION_ROWS)
        for start in range(0, end, num_rows):
            rows = slice(start, min(start + num_rows, end))
            yield Chunk(list(texts[rows]), np.array(label_ids[rows], dtype=np.int64))

    worker = Worker(
        rank=0,
        world_size=1,
        device=torch.device(device),
        read_chunks=read_chunks,
        wrap=lambda model: model,
        report=lambda *_: None,
        show=lambda *_: None,
        keeps_checkpoints=False,
    )
    return fine_tune(config, Task(labels, [1.0] * len(labels), len(texts)), worker, None)[-1]

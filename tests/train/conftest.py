"""What tests of the training loop share: a training with one worker, and the checkpoints that it reports."""

from pathlib import Path
from typing import Any

import pytest
import torch

from sentiment_ray.train.checkpoint import Checkpoint
from sentiment_ray.train.loop import fine_tune
from tests.train.training import (
    TIMES,
    CheckpointStore,
    Train,
    break_row,
    make_config,
    make_reader,
    make_task,
    make_worker,
)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path)


@pytest.fixture
def train(prepared: Path, tiny_encoder: Path, store: CheckpointStore) -> Train:
    """Train with one worker and return the history without its times; `store` gets the checkpoints."""

    def call(
        checkpoint: Checkpoint | None = None,
        weights: list[float] | None = None,
        broken_row: int | None = None,
        reviews: Path = prepared,
        **changes: Any,
    ) -> list[dict[str, Any]]:
        torch.set_num_threads(1)
        read_chunks = make_reader(reviews)
        read_chunks = read_chunks if broken_row is None else break_row(read_chunks, broken_row)
        worker = make_worker(read_chunks, report=store.report, record=store.steps.extend)
        history = fine_tune(make_config(tiny_encoder, **changes), make_task(reviews, weights), worker, checkpoint)
        return [{key: value for key, value in metrics.items() if key not in TIMES} for metrics in history]

    return call

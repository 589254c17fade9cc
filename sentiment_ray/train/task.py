"""What the driver of a training hands to its workers; knows no torch and no Ray, so the driver stays light."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiment_ray.train.config import TrainConfig

CHUNK_ROWS = 8192
"""Most rows that are shuffled and sorted together: enough for batches of one length, few enough for any memory."""


@dataclass(frozen=True)
class Task:
    """What is learned: the labels, the weight of each label in the loss, and the number of training rows.

    `cleaning_steps` were applied to the prepared reviews. They are applied to every other text that this training
    reads, and the bundle applies them to every text that it scores.
    """

    labels: tuple[str, ...]
    class_weights: list[float]
    train_rows: int
    cleaning_steps: tuple[str, ...] = ()
    checkpoint_split: str = "validation"
    """The split whose rows are read as `validation`."""


@dataclass(frozen=True)
class WorkerPlan:
    """All that a Ray Train worker needs to take part in a training."""

    config: TrainConfig
    task: Task
    num_threads: int | None
    """Threads of torch; None leaves torch's own choice, for workers with a GPU."""
    board: Any
    """The ProgressBoard actor."""
    checkpoint: Path | None
    """The checkpoint to resume from when Ray has no newer one."""

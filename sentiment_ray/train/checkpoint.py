"""Checkpoints on disk: writing, checking and choosing them; knows nothing of training steps.

Every checkpoint has a checkpoint.json with the sha256 of its files. Only this file shows that a checkpoint is complete:
Ray copies a checkpoint to the run's storage file by file and rewrites its own list of checkpoints in place, so a crash
can leave either of them half written (ray 2.60, `CheckpointManager`).
"""

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sentiment_ray.errors import DataError
from sentiment_ray.manifest import hash_file, read_json, write_json

MANIFEST_NAME = "checkpoint.json"
STATE_NAME = "state.pt"
ATTEMPTS = "attempts"
"""Directory of a run that holds Ray's storage, one directory for each start of the driver."""


@dataclass(frozen=True)
class Progress:
    """How far a training is: `epoch` epochs are finished, and the share `done` of the next one.

    `history` holds the metrics of each finished epoch. `loss_sum`, `rows`, `tokens` and `seconds` belong to the
    unfinished epoch and are totals over all workers; so do `steps`, the number of its steps, and `skipped_steps` of
    them with `skipped_rows` rows. The field names are the keys in checkpoint.json.
    """

    epoch: int = 0
    done: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    loss_sum: float = 0.0
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0
    steps: int = 0
    skipped_steps: int = 0
    skipped_rows: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint of a run; it has a score when it was written at the end of an epoch."""

    path: Path
    progress: Progress
    score: float | None

    @property
    def position(self) -> tuple[int, float]:
        """The number of finished epochs and the share of the next one."""
        return self.progress.epoch, self.progress.done


def count_steps(progress: Progress) -> int:
    """Return the number of optimizer steps until here, those of all epochs together."""
    return progress.steps + sum(metrics.get("steps", 0) for metrics in progress.history)


def seal_checkpoint(directory: Path, progress: Progress, score: float | None) -> None:
    """Write checkpoint.json, the last file of a checkpoint: the hashes of the others, the progress and the score."""
    files = {file.name: hash_file(file) for file in sorted(directory.iterdir())}
    write_json(directory / MANIFEST_NAME, {"files": files, "progress": asdict(progress), "score": score})


def read_checkpoint(directory: Path) -> Checkpoint | None:
    """Return a checkpoint, or None when a file is missing or differs from its hash."""
    try:
        manifest = read_json(directory / MANIFEST_NAME)
        files = {name: hash_file(directory / name) for name in manifest["files"]}
    except (DataError, OSError, KeyError):
        return None
    if files != manifest["files"]:
        return None
    return Checkpoint(directory, Progress(**manifest["progress"]), manifest["score"])


def list_checkpoints(run: Path) -> list[Checkpoint]:
    """Return the complete checkpoints of a run, from all starts of its driver, the earliest position first."""
    checkpoints = (read_checkpoint(path) for path in (run / ATTEMPTS).glob("*/epoch-*/"))
    return sorted((checkpoint for checkpoint in checkpoints if checkpoint), key=lambda checkpoint: checkpoint.position)


def rank_checkpoints(checkpoints: list[Checkpoint]) -> list[Checkpoint]:
    """Return the checkpoints at the end of an epoch, one for each epoch, the highest score first.

    Of equal scores the later epoch comes first, as in Ray, which may have removed the earlier checkpoint already.
    """
    by_epoch = {checkpoint.progress.epoch: checkpoint for checkpoint in checkpoints if checkpoint.score is not None}
    return sorted(by_epoch.values(), key=lambda checkpoint: (-(checkpoint.score or 0.0), -checkpoint.progress.epoch))


def keep_only(run: Path, checkpoints: list[Checkpoint]) -> None:
    """Remove everything from a run's storage except some checkpoints."""
    kept = {checkpoint.path for checkpoint in checkpoints}
    for attempt in (run / ATTEMPTS).iterdir():
        for path in attempt.iterdir():
            if path not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not any(attempt.iterdir()):
            attempt.rmdir()

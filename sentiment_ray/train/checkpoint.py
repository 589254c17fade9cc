"""Checkpoints on disk, each with the hashes of its files, and which of a run's can be used; knows no training step.

Ray copies a checkpoint to the run's storage file by file and keeps a list of them in a file that it writes in place, so
neither a directory's name nor that list says that a checkpoint is whole (ray 2.60, `CheckpointManager`). Its own
checkpoint.json does, for it names every file with its sha256.
"""

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sentiment_ray.errors import DataError
from sentiment_ray.manifest import read_json, sha256_of_file, write_json

MANIFEST_NAME = "checkpoint.json"
STATE_NAME = "state.pt"
ATTEMPTS = "attempts"
"""Where Ray's storage of each start of a run's driver stands, below the run."""


@dataclass(frozen=True)
class Progress:
    """How far a training is: `epoch` epochs are over, and the share `done` of the next.

    `history` has a line of metrics an epoch. `loss_sum`, `rows`, `tokens` and `seconds` are those of the epoch that is
    not over yet, over all workers.
    """

    epoch: int = 0
    done: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    loss_sum: float = 0.0
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint of a run: where it is and how far the training was; it has a score at the end of an epoch."""

    path: Path
    progress: Progress
    score: float | None

    @property
    def place(self) -> tuple[int, float]:
        """Epochs and the share of the next that lay behind."""
        return self.progress.epoch, self.progress.done


def seal_checkpoint(directory: Path, progress: Progress, score: float | None) -> None:
    """Write checkpoint.json, the last of a checkpoint's files: hashes of the others, and how far the training was."""
    files = {file.name: sha256_of_file(file) for file in sorted(directory.iterdir())}
    write_json(directory / MANIFEST_NAME, {"files": files, "progress": asdict(progress), "score": score})


def read_checkpoint(directory: Path) -> Checkpoint | None:
    """Return a checkpoint of which every byte is what was written, or None."""
    try:
        manifest = read_json(directory / MANIFEST_NAME)
        files = {name: sha256_of_file(directory / name) for name in manifest["files"]}
    except (DataError, OSError, KeyError):
        return None
    if files != manifest["files"]:
        return None
    return Checkpoint(directory, Progress(**manifest["progress"]), manifest["score"])


def find_checkpoints(run: Path) -> list[Checkpoint]:
    """Return the whole checkpoints of a run, of all attempts, in the order of the training."""
    found = (read_checkpoint(path) for path in (run / ATTEMPTS).glob("*/epoch-*/"))
    return sorted((checkpoint for checkpoint in found if checkpoint), key=lambda checkpoint: checkpoint.place)


def best_first(checkpoints: list[Checkpoint]) -> list[Checkpoint]:
    """Return those at the end of an epoch, the highest score first, each epoch once.

    Of equal ones the later, as Ray has it: it may have removed the earlier one already.
    """
    by_epoch = {checkpoint.progress.epoch: checkpoint for checkpoint in checkpoints if checkpoint.score is not None}
    return sorted(by_epoch.values(), key=lambda checkpoint: (-(checkpoint.score or 0.0), -checkpoint.progress.epoch))


def keep_only(run: Path, checkpoints: list[Checkpoint]) -> None:
    """Remove everything in a run's storage but some checkpoints."""
    kept = {checkpoint.path for checkpoint in checkpoints}
    for attempt in (run / ATTEMPTS).iterdir():
        for path in attempt.iterdir():
            if path not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not any(attempt.iterdir()):
            attempt.rmdir()

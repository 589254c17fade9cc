"""Checkpoints on disk: writing, checking and choosing them; knows nothing of training steps.

Every checkpoint has a checkpoint.json with the sha256 of its files. Only this file shows that a checkpoint is complete:
Ray copies a checkpoint to the run's storage file by file and rewrites its own list of checkpoints in place, so a crash
can leave either of them half written (ray 2.60, `CheckpointManager`).
"""

import logging
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sentiment_ray import log
from sentiment_ray.errors import DataError
from sentiment_ray.manifest import hash_file, read_json, write_json

MANIFEST_NAME = "checkpoint.json"
STATE_NAME = "state.pt"
ATTEMPTS = "attempts"
"""Directory of a run that holds Ray's storage, one directory for each start of the driver."""


@dataclass(frozen=True)
class Progress:
    """How far a training is: `epoch` epochs are finished, and the share `done` of the next one.

    `order` is the order in which the training rows of the unfinished epoch are read. It is the number of finished
    epochs, and 0 in a checkpoint of a release that read the rows of every epoch in the same order.

    `history` holds the metrics of each finished epoch. `loss_sum`, `rows`, `tokens` and `seconds` belong to the
    unfinished epoch and are totals over all workers; so do `steps`, the number of its steps, and `skipped_steps` of
    them with `skipped_rows` rows. The field names are the keys in checkpoint.json.
    """

    epoch: int = 0
    done: float = 0.0
    order: int = 0
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


@dataclass(frozen=True)
class Damage:
    """Why a checkpoint cannot be used. `is_complete` says whether all of its files are there, one of them altered."""

    path: Path
    reason: str
    is_complete: bool


def seal_checkpoint(directory: Path, progress: Progress, score: float | None) -> None:
    """Write checkpoint.json, the last file of a checkpoint: the hashes of the others, the progress and the score."""
    files = {file.name: hash_file(file) for file in sorted(directory.iterdir())}
    write_json(directory / MANIFEST_NAME, {"files": files, "progress": asdict(progress), "score": score})


def read_checkpoint(directory: Path) -> Checkpoint | None:
    """Return a checkpoint, or None when a file is missing or differs from its hash."""
    checkpoint = _read(directory)
    return checkpoint if isinstance(checkpoint, Checkpoint) else None


def _read(directory: Path) -> Checkpoint | Damage:
    """Return a checkpoint, or why it cannot be used."""
    try:
        manifest = read_json(directory / MANIFEST_NAME)
        files = {name: hash_file(directory / name) for name in manifest["files"]}
        checkpoint = Checkpoint(directory, Progress(**manifest["progress"]), manifest["score"])
    except FileNotFoundError as error:
        return Damage(directory, f"{Path(error.filename).name} is missing", is_complete=False)
    except (DataError, OSError, KeyError, TypeError, AttributeError):
        is_there = (directory / MANIFEST_NAME).is_file()
        what = "cannot be read" if is_there else "is missing"
        return Damage(directory, f"{MANIFEST_NAME} {what}", is_complete=is_there)
    wrong = [name for name, digest in files.items() if digest != manifest["files"][name]]
    if wrong:
        return Damage(directory, f"{wrong[0]} differs from its hash in {MANIFEST_NAME}", is_complete=True)
    return checkpoint


def _read_all(run: Path) -> list[Checkpoint | Damage]:
    """Read all checkpoints of a run, from all starts of its driver."""
    return [_read(path) for path in sorted((run / ATTEMPTS).glob("*/epoch-*/"))]


def list_checkpoints(run: Path) -> list[Checkpoint]:
    """Return the complete checkpoints of a run, from all starts of its driver, the earliest position first."""
    checkpoints = (checkpoint for checkpoint in _read_all(run) if isinstance(checkpoint, Checkpoint))
    return sorted(checkpoints, key=lambda checkpoint: checkpoint.position)


def find_newest_checkpoint(run: Path) -> Checkpoint | None:
    """Return the checkpoint from which a run resumes, or None without one.

    Lines on stderr say where it resumes, name each checkpoint that is passed over, and say when all of them are.
    """
    read = _read_all(run)
    for damage in read:
        if isinstance(damage, Damage):
            log.notify(f"the checkpoint {damage.path} is passed over: {damage.reason}", level=logging.WARNING)
    newest = max(
        (checkpoint for checkpoint in read if isinstance(checkpoint, Checkpoint)),
        key=lambda checkpoint: checkpoint.position,
        default=None,
    )
    if newest:
        epoch, done = newest.position
        log.notify(f"resuming in epoch {epoch + 1}, {done:.0%} of it done")
    elif read:
        log.notify(
            f"no checkpoint in {run / ATTEMPTS} can be used, so the training starts from the beginning",
            level=logging.WARNING,
        )
    return newest


def rank_checkpoints(checkpoints: list[Checkpoint]) -> list[Checkpoint]:
    """Return the checkpoints at the end of an epoch, one for each epoch, the highest score first.

    Of equal scores the later epoch comes first, as in Ray, which may have removed the earlier checkpoint already.
    """
    by_epoch = {checkpoint.progress.epoch: checkpoint for checkpoint in checkpoints if checkpoint.score is not None}
    return sorted(by_epoch.values(), key=lambda checkpoint: (-(checkpoint.score or 0.0), -checkpoint.progress.epoch))


def keep_only(run: Path, checkpoints: list[Checkpoint]) -> None:
    """Remove everything from a run's storage except some checkpoints, and damaged ones, which show what happened.

    A checkpoint that lacks files is removed: a crash cut it short.
    """
    kept = {checkpoint.path for checkpoint in checkpoints}
    kept |= {read.path for read in _read_all(run) if isinstance(read, Damage) and read.is_complete}
    for attempt in (run / ATTEMPTS).iterdir():
        for path in attempt.iterdir():
            if path not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not any(attempt.iterdir()):
            attempt.rmdir()

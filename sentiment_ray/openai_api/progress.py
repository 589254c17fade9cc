"""Tells how far a training is: its steps become events, its epochs checkpoints, both a result file."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from sentiment_ray.openai_api.events import add_event
from sentiment_ray.openai_api.hyperparameters import read_chosen
from sentiment_ray.openai_api.ids import make_id, now_s
from sentiment_ray.openai_api.tables import Checkpoint, Event, Job

MAX_STEP_EVENTS = 1000
"""Of a training with more steps, every second step has an event, or every third, and so on; the last one has one."""
RESULT_COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")


@dataclass(frozen=True)
class Epoch:
    """A finished epoch: the last of its steps, and what was measured after it."""

    step: int
    metrics: dict[str, Any]


@dataclass(frozen=True)
class TrainingProgress:
    """What the files of a training say; `config` is None until the first step is about to be taken."""

    config: dict[str, Any] | None
    steps: list[dict[str, Any]]
    epochs: list[Epoch]

    @property
    def total_steps(self) -> int:
        """The number of steps of the whole training; 0 before the first one."""
        return int(self.steps[-1]["total_steps"]) if self.steps else 0


def read_progress(run: Path) -> TrainingProgress:
    """Read the files of a run that may be at work; a line that is still being written is left for later."""
    config = next(iter(_read_lines(run / "config.json", is_whole=True)), None)
    steps = list(_read_lines(run / "steps.jsonl"))
    last_step, epochs = 0, []
    for line in _read_lines(run / "metrics.jsonl"):
        last_step += line["steps"]
        epochs.append(Epoch(last_step, line))
    return TrainingProgress(config, steps, epochs)


def record_progress(session: Session, job: Job, progress: TrainingProgress, *, num_examples: int) -> None:
    """Add the events and checkpoints that a job does not have yet, and the numbers that training has chosen.

    The session must hold the lock of the job.
    """
    if progress.config and progress.steps and job.chosen is None:
        chosen = read_chosen(progress.config, num_examples=num_examples, total_steps=progress.total_steps)
        session.execute(update(Job).where(Job.id == job.id).values(chosen=chosen))
    epochs = {epoch.step: epoch for epoch in progress.epochs}
    for step in _select_new_steps(session, job.id, progress):
        _add_step_event(session, job.id, step, epochs.get(step["step"]))
    for epoch in progress.epochs:
        _add_checkpoint(session, job.id, epoch)


def make_result_file(progress: TrainingProgress) -> bytes:
    """Return the result file: a CSV with a line for each step."""
    epochs = {epoch.step: describe_epoch(epoch) for epoch in progress.epochs}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(RESULT_COLUMNS)
    for line in progress.steps:
        metrics = epochs.get(line["step"], {})
        held_out = (metrics.get("valid_loss"), metrics.get("valid_mean_token_accuracy"))
        numbers = (line["loss"], line["accuracy"], *held_out)
        writer.writerow([line["step"], *("" if number is None else f"{number:.5g}" for number in numbers)])
    return text.getvalue().encode()


def count_trained_tokens(progress: TrainingProgress) -> int:
    """Return the number of tokens that all epochs together have read."""
    return sum(int(epoch.metrics["tokens"]) for epoch in progress.epochs)


def describe_epoch(epoch: Epoch) -> dict[str, Any]:
    """Return the metrics of a checkpoint as the API names them; those of held-out examples only where there are any."""
    line = epoch.metrics
    metrics: dict[str, Any] = {"step": epoch.step, "train_loss": line["loss"]}
    if line.get("split") == "train":
        return metrics | {"train_mean_token_accuracy": line["accuracy"]}
    for prefix in ("valid", "full_valid"):
        metrics |= {f"{prefix}_loss": line["validation_loss"], f"{prefix}_mean_token_accuracy": line["accuracy"]}
    return metrics


def make_checkpoint_object(checkpoint: Checkpoint, model: str) -> dict[str, Any]:
    """Return a checkpoint as the API has it; `model` is the id that the job's model has or will have."""
    return {
        "id": checkpoint.id,
        "object": "fine_tuning.job.checkpoint",
        "created_at": checkpoint.created_at,
        "fine_tuned_model_checkpoint": f"{model}:ckpt-step-{checkpoint.step_number}",
        "fine_tuning_job_id": checkpoint.job_id,
        "metrics": checkpoint.metrics,
        "step_number": checkpoint.step_number,
    }


def _select_new_steps(session: Session, job_id: str, progress: TrainingProgress) -> list[dict[str, Any]]:
    """Return the steps that shall have an event and have none yet; a resumed training takes some steps again."""
    newest = select(Event).where(Event.job_id == job_id, Event.type == "metrics").order_by(Event.number.desc()).limit(1)
    last = session.scalar(newest)
    last_step = int(last.data["step"]) if last and last.data else 0
    every = -(-max(1, progress.total_steps) // MAX_STEP_EVENTS)
    return [
        line
        for line in progress.steps
        if line["step"] > last_step
        and line["loss"] is not None
        and (line["step"] == 1 or line["step"] % every == 0 or line["step"] == line["total_steps"])
    ]


def _add_step_event(session: Session, job_id: str, line: Mapping[str, Any], epoch: Epoch | None) -> None:
    step, total_steps, loss = line["step"], line["total_steps"], line["loss"]
    data = {
        "step": step,
        "total_steps": total_steps,
        "train_loss": loss,
        "train_mean_token_accuracy": line["accuracy"],
    }
    if epoch:
        data |= {name: value for name, value in describe_epoch(epoch).items() if name not in data}
    message = f"Step {step}/{total_steps}: training loss={loss:.2f}"
    add_event(session, job_id, f"step-{step}", message, type="metrics", data=data)


def _add_checkpoint(session: Session, job_id: str, epoch: Epoch) -> None:
    where = (Checkpoint.job_id == job_id, Checkpoint.step_number == epoch.step)
    if session.scalar(select(Checkpoint.id).where(*where)):
        return
    checkpoint = Checkpoint(
        id=make_id("ftckpt_"),
        job_id=job_id,
        created_at=now_s(),
        step_number=epoch.step,
        metrics=describe_epoch(epoch),
    )
    session.add(checkpoint)
    add_event(session, job_id, f"checkpoint-{epoch.step}", f"Checkpoint created at step {epoch.step}")


def _read_lines(path: Path, *, is_whole: bool = False) -> Iterator[dict[str, Any]]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for line in [data] if is_whole else data.split(b"\n")[:-1]:
        try:
            yield json.loads(line)
        except ValueError:  # a crash cut it short; the training writes it again
            return

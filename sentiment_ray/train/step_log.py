"""Writes steps.jsonl, which has the loss and the accuracy of each optimizer step; knows no model and no Ray."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from sentiment_ray.manifest import format_json
from sentiment_ray.train.batches import NO_LABEL, Batch

STEPS_NAME = "steps.jsonl"
NUM_SUMS = 4
"""Numbers that `count_texts` returns."""
MOST_LINES = 10_000
"""Lines of the file, about. Of a training with more steps it has every second one, or every third, and so on."""


@dataclass(frozen=True)
class StepResult:
    """A line of steps.jsonl; the field names are its keys.

    `loss` is the mean loss of the texts of the first worker's batch, and `accuracy` the share that the model labelled
    right before the step. Each is None when no text counts. `total_steps` is the number of steps of all epochs, an
    estimate where chunks have different numbers of batches.
    """

    step: int
    total_steps: int
    loss: float | None
    accuracy: float | None


class StepLog:
    """Collects the results of steps on their way to `record`, which writes them.

    Reading a result waits for a GPU, so the sums are noted first and read later, all at once.
    """

    def __init__(self, record: Callable[[Sequence[StepResult]], None], *, first: int) -> None:
        self._record, self._next = record, first
        self._unread: list[tuple[torch.Tensor, int]] = []

    def note(self, sums: torch.Tensor, *, total_steps: int) -> None:
        """Remember the sums of the next step, which `count_texts` returned."""
        self._unread.append((sums, total_steps))

    def write(self) -> None:
        """Hand on the steps that were noted since the last call."""
        results = []
        read = torch.stack([sums for sums, _ in self._unread]).tolist() if self._unread else []
        for step, (sums, (_, total_steps)) in enumerate(zip(read, self._unread, strict=True), start=self._next):
            loss, num_texts, num_right, num_labelled = sums
            mean_loss = loss / num_texts if num_texts else None
            results.append(StepResult(step, total_steps, mean_loss, num_right / num_labelled if num_labelled else None))
        self._next += len(results)
        self._unread.clear()
        self._record(results)


def count_texts(loss: torch.Tensor, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return four sums over the texts of a batch, float64 `(4,)`.

    They are the loss, the texts that it counts, those whose label has the highest logit, and those with a label.
    """
    is_labelled = batch.label_ids != NO_LABEL
    is_counted = is_labelled if batch.teacher is None else torch.ones_like(is_labelled)
    is_right = logits.detach().argmax(dim=1) == batch.label_ids
    counts = (each.sum().double() for each in (is_counted, is_right, is_labelled))
    return torch.stack([loss.detach().double(), *counts])


def append_steps(path: Path, results: Sequence[StepResult]) -> None:
    """Add lines to steps.jsonl."""
    with path.open("a", encoding="utf-8") as file:
        for result in results:
            if result.step % (1 + result.total_steps // MOST_LINES) == 0:
                file.write(format_json(asdict(result)) + "\n")


def remove_steps_after(path: Path, last_step: int) -> None:
    """Remove the lines of steps that a training which resumes after `last_step` takes again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(line for line in lines if _is_step_until(line, last_step)), encoding="utf-8")


def _is_step_until(line: str, last_step: int) -> bool:
    try:
        return int(json.loads(line)["step"]) <= last_step
    except (ValueError, KeyError, TypeError):  # a crash cut the line short
        return False

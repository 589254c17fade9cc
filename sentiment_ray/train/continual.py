"""Continual training: checks the run that a training starts from, and measures both models before and after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from sentiment_ray.errors import ConfigError
from sentiment_ray.manifest import hash_file
from sentiment_ray.pretrained.runs import find_checkpoint, read_run
from sentiment_ray.text.truncation import Truncation, read_truncation
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.prepared import MANIFEST_NAME, PreparedReviews, read_prepared


@dataclass(frozen=True)
class FinishedModel:
    """A checkpoint and how it reads texts: what is needed to measure it."""

    checkpoint: Path
    max_tokens: int
    truncation: Truncation
    cleaning_steps: tuple[str, ...]


@dataclass(frozen=True)
class PreviousRun:
    """The run that a training starts from: its best checkpoint and the reviews that it was trained on."""

    fingerprint: str
    prepared: PreparedReviews
    model: FinishedModel


def load_previous_run(config: TrainConfig, prepared: PreparedReviews) -> PreviousRun | None:
    """Return the run of `start_from`, or None without one.

    ConfigError when the labels differ, or when the reviews of that run were changed or removed since.
    """
    if not config.start_from:
        return None
    path = Path(config.start_from)
    run = read_run(path)
    if tuple(run["labels"]) != prepared.labels:
        raise ConfigError(
            f"start_from = {config.start_from!r} has the labels {', '.join(run['labels'])}, but {config.prepared} has "
            f"{', '.join(prepared.labels)}. Prepare the reviews with the same labels in the same order."
        )
    directory = Path(run["config"]["prepared"])
    manifest = directory / MANIFEST_NAME
    checkpoint = find_checkpoint(path, run)
    if not manifest.is_file() or hash_file(manifest) != run["made_from"]["prepared"]:
        raise ConfigError(
            f"start_from = {config.start_from!r}: the reviews that it was trained on, {directory}, were changed or "
            "removed, so it cannot be measured what the model forgets. Prepare new reviews in another directory. Or "
            f"set model = {str(checkpoint)!r} instead; then no old rows are replayed or measured."
        )
    if config.replay and directory == Path(config.prepared):
        raise ConfigError(
            f"replay = {config.replay:g}: start_from was trained on the same reviews, {directory}. Remove replay."
        )
    model = _describe_model(checkpoint, run["config"], run.get("steps", ()))
    return PreviousRun(run["fingerprint"], read_prepared(directory), model)


def measure_before_and_after(
    config: TrainConfig, prepared: PreparedReviews, previous: PreviousRun, checkpoint: Path
) -> dict[str, Any]:
    """Return metrics of the old and the new model on the old and the new reviews, measured as Ray tasks.

    The rows are those of the test split, or of validation where there is no test split. Each model reads texts as it
    was trained: with its own max_tokens, truncation and cleaning.
    """
    splits = {"new": prepared.measured_split, "old": previous.prepared.measured_split}
    after = _describe_model(checkpoint, config.model_dump(mode="json"), prepared.cleaning_steps)
    models = {"before": previous.model, "after": after}
    tasks = {
        name: {when: _measure.remote(model, split, prepared.labels) for when, model in models.items()}
        for name, split in splits.items()
    }
    metrics = {name: {when: ray.get(task) for when, task in both.items()} for name, both in tasks.items()}
    return {"run": previous.fingerprint, "replay": config.replay, **metrics}


def _describe_model(checkpoint: Path, settings: Mapping[str, Any], cleaning_steps: Sequence[str]) -> FinishedModel:
    """Return a checkpoint with what the keys of [train] that it was trained with say of its input."""
    return FinishedModel(checkpoint, settings["max_tokens"], read_truncation(settings), tuple(cleaning_steps))


@ray.remote
def _measure(model: FinishedModel, split: Path, labels: tuple[str, ...]) -> dict[str, Any]:
    from sentiment_ray.train.baseline import checkpoint_metrics

    return checkpoint_metrics(
        model.checkpoint,
        split,
        labels,
        max_tokens=model.max_tokens,
        truncation=model.truncation,
        cleaning_steps=model.cleaning_steps,
    )

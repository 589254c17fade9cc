"""Checks the run that a training starts from, takes over its labels, and measures both models before and after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from sentiment_ray import log
from sentiment_ray.errors import ConfigError
from sentiment_ray.pretrained.head import describe_earlier_head
from sentiment_ray.pretrained.runs import find_checkpoint, has_reviews_of, read_run
from sentiment_ray.text.truncation import Truncation, read_truncation
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.overlap import find_known_rows
from sentiment_ray.train.preflight import Inspected
from sentiment_ray.train.prepared import PreparedReviews, read_prepared

OWN_KEYS = (
    "output", "restart", "prepared", "model", "revision", "start_from", "replay", "epochs", "track", "seed",
    "tokens_per_batch", "rows_per_batch", "passes_per_epoch", "contrastive_weight", "keep_checkpoints",
    "checkpoint_every_s", "num_workers", "cpus_per_worker", "use_gpu", "max_failures",
)  # fmt: skip
"""Keys that belong to one training or one machine; a difference from an earlier training says nothing."""


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
    labels: tuple[str, ...]
    prepared: PreparedReviews
    model: FinishedModel
    settings: Mapping[str, Any]
    """Its keys of [train]."""


def load_previous_run(config: TrainConfig, prepared: PreparedReviews) -> PreviousRun | None:
    """Return the run of `start_from`, or None without one.

    The new reviews may have some of its labels, in any order. ConfigError when they have others, or when the reviews of
    that run were changed or removed since.
    """
    if not config.start_from:
        return None
    path = Path(config.start_from)
    run = read_run(path)
    unknown = [label for label in prepared.labels if label not in run["labels"]]
    if unknown:
        raise ConfigError(
            f"start_from = {config.start_from!r} has the labels {', '.join(run['labels'])}, but {config.prepared} also "
            f"has {', '.join(unknown)}. Prepare the reviews with labels of that run, all or some of them."
        )
    directory = Path(run["config"]["prepared"])
    checkpoint = find_checkpoint(path, run)
    if not has_reviews_of(directory, run):
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
    earlier = use_labels(read_prepared(directory), tuple(run["labels"]))
    return PreviousRun(run["fingerprint"], tuple(run["labels"]), earlier, model, run["config"])


def use_labels(prepared: PreparedReviews, labels: tuple[str, ...]) -> PreparedReviews:
    """Return reviews with the labels of a model, in its order. A label that the reviews lack has 0 rows."""
    rows_by_label = {
        split: {label: counts.get(label, 0) for label in labels} for split, counts in prepared.rows_by_label.items()
    }
    return replace(prepared, labels=labels, rows_by_label=rows_by_label)


def count_rows_by_label(
    config: TrainConfig, prepared: PreparedReviews, previous: PreviousRun | None
) -> dict[str, float]:
    """Return the training rows of each label, including the share of the previous run's rows that is replayed."""
    rows = prepared.rows_by_label["train"]
    if not (previous and config.replay):
        return dict(rows)
    old_rows = previous.prepared.rows_by_label["train"]
    return {label: count + config.replay * old_rows[label] for label, count in rows.items()}


def notify_of_labels(config: TrainConfig, prepared: PreparedReviews, inspected: Inspected) -> None:
    """Say what becomes of the head of an earlier classifier, and which of its labels the new reviews lack."""
    if not config.start_from:
        config_json = inspected[config.model, config.revision]
        line = describe_earlier_head(f"model = {config.model!r}", config_json, prepared.labels)
        if line:
            log.notify(line)
        return
    missing = [label for label, count in prepared.rows_by_label["train"].items() if not count]
    if missing:
        log.notify(
            f"the reviews have no training rows with the label {' or '.join(missing)}, which start_from has. The model "
            "keeps the label but may forget it. With replay it also trains on rows of the earlier run."
        )


def measure_before_and_after(
    config: TrainConfig, prepared: PreparedReviews, previous: PreviousRun, checkpoint: Path
) -> dict[str, Any]:
    """Return metrics of the old and the new model on the old and the new reviews, measured as Ray tasks.

    The rows are those of the test split, or of validation where there is no test split. New rows whose texts the
    earlier run was trained on, `known_new_rows`, are left out unless they are all there are. Each model reads texts as
    it was trained: with its own max_tokens, truncation and cleaning.
    """
    known = find_known_rows(
        prepared.measured_split, previous.prepared.directory / "train", steps=prepared.cleaning_steps
    )
    leaves_out_known = len(known) < prepared.num_rows[prepared.measured_split.name]
    left_out = {"new": frozenset(known if leaves_out_known else ()), "old": frozenset[str]()}
    splits = {"new": prepared.measured_split, "old": previous.prepared.measured_split}
    after = _describe_model(checkpoint, config.model_dump(mode="json"), prepared.cleaning_steps)
    models = {"before": previous.model, "after": after}
    tasks = {
        name: {
            when: _measure.options(num_gpus=int(config.use_gpu)).remote(
                model, split, prepared.labels, left_out[name], use_gpu=config.use_gpu
            )
            for when, model in models.items()
        }
        for name, split in splits.items()
    }
    metrics = {name: {when: ray.get(task) for when, task in both.items()} for name, both in tasks.items()}
    return {
        "run": previous.fingerprint,
        "replay": config.replay,
        "known_new_rows": len(known),
        "leaves_out_known": leaves_out_known,
        "changed_keys": _find_changed_keys(previous.settings, config.model_dump(mode="json")),
        **metrics,
    }


def _find_changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the earlier and the new value of the keys that differ, except for those that every training changes."""
    before = {TrainConfig.renamed.get(key, key): value for key, value in before.items()}
    return {
        key: (before[key], value)
        for key, value in now.items()
        if key in before and key not in OWN_KEYS and before[key] != value
    }


def _describe_model(checkpoint: Path, settings: Mapping[str, Any], cleaning_steps: Sequence[str]) -> FinishedModel:
    """Return a checkpoint with what the keys of [train] that it was trained with say of its input."""
    return FinishedModel(checkpoint, settings["max_tokens"], read_truncation(settings), tuple(cleaning_steps))


@ray.remote
def _measure(
    model: FinishedModel, split: Path, labels: tuple[str, ...], left_out: frozenset[str], *, use_gpu: bool
) -> dict[str, Any]:
    from sentiment_ray.train.baseline import checkpoint_metrics

    return checkpoint_metrics(
        model.checkpoint,
        split,
        labels,
        max_tokens=model.max_tokens,
        truncation=model.truncation,
        cleaning_steps=model.cleaning_steps,
        left_out=left_out,
        use_gpu=use_gpu,
    )

"""Going on from an earlier run on new reviews: what it must agree in, and what was gained and lost by it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from sentiment_ray.errors import ConfigError
from sentiment_ray.manifest import read_json, sha256_of_file
from sentiment_ray.train.config import TrainConfig


@dataclass(frozen=True)
class Earlier:
    """The run that a training goes on from: its best checkpoint and the reviews that it was trained on."""

    fingerprint: str
    checkpoint: Path
    prepared: Path
    settings: dict[str, Any]
    """Its keys of [train]."""
    steps: tuple[str, ...]
    """What its reviews were cleaned by."""


def earlier_run(config: TrainConfig, prepared: dict[str, Any]) -> Earlier | None:
    """Return the run of `start_from`, if there is one; ConfigError when its labels or its reviews are others now."""
    if not config.start_from:
        return None
    path = Path(config.start_from)
    run = read_json(path / "run.json")
    if run["labels"] != prepared["labels"]:
        raise ConfigError(
            f"start_from = {config.start_from!r} has the labels {', '.join(run['labels'])}, {config.prepared} has "
            f"{', '.join(prepared['labels'])}. Prepare the reviews with the same labels in the same order."
        )
    reviews = Path(run["config"]["prepared"])
    found = reviews / "prepared.json"
    if not found.is_file() or sha256_of_file(found) != run["made_from"]["prepared"]:
        raise ConfigError(
            f"start_from = {config.start_from!r} was trained on what {reviews} held then, which is not there any more: "
            "what was forgotten could not be told. Prepare new reviews in a directory of their own; or give "
            f"{path / run['best']['checkpoint']} as model, and nothing old is replayed or measured."
        )
    if config.replay and reviews == Path(config.prepared):
        raise ConfigError(f"replay = {config.replay:g}: {reviews} is what start_from was trained on already. Drop it.")
    return Earlier(
        run["fingerprint"], path / run["best"]["checkpoint"], reviews, run["config"], tuple(run.get("steps", ()))
    )


def gained_and_lost(
    config: TrainConfig, prepared: dict[str, Any], earlier: Earlier, checkpoint: Path
) -> dict[str, Any]:
    """Return metrics on the test rows (validation rows where there are none) of both sets, before and after.

    Each of the two models reads a text as it was trained to: with its own max_tokens, truncation and cleaning.
    """
    new, old = Path(config.prepared), earlier.prepared
    sets = {"new": new / measured_split(prepared), "old": old / measured_split(read_json(old / "prepared.json"))}
    after = (str(checkpoint), config.model_dump(mode="json"), tuple(prepared.get("steps", ())))
    models = {"before": (str(earlier.checkpoint), earlier.settings, earlier.steps), "after": after}
    tasks = {
        name: {when: _measure.remote(*model, str(split), prepared["labels"]) for when, model in models.items()}
        for name, split in sets.items()
    }
    found = {name: {when: ray.get(task) for when, task in both.items()} for name, both in tasks.items()}
    return {"run": earlier.fingerprint, "replay": config.replay, **found}


def measured_split(prepared: dict[str, Any]) -> str:
    """Return the split that a finished model is measured on: test, or validation where no test was split off."""
    return "test" if prepared["counts"]["test"] else "validation"


@ray.remote
def _measure(
    checkpoint: str, settings: dict[str, Any], steps: tuple[str, ...], split: str, labels: list[str]
) -> dict[str, Any]:
    from sentiment_ray.text.truncation import truncation_of
    from sentiment_ray.train.baseline import checkpoint_metrics

    return checkpoint_metrics(
        Path(checkpoint),
        Path(split),
        labels,
        max_tokens=settings["max_tokens"],
        truncation=truncation_of(settings),
        steps=steps,
    )

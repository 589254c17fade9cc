"""Reads run.json of a training, finds its checkpoint, and recognises its reviews; loads no model."""

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from sentiment_ray.bundle.files import quote
from sentiment_ray.errors import ConfigError
from sentiment_ray.manifest import fingerprint, hash_file, read_json

RUN_NAME, PLAN_NAME, PREPARED_NAME = "run.json", "config.json", "prepared.json"


class _Parts(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Best(_Parts):
    checkpoint: str


class _Settings(_Parts):
    prepared: str
    model: str
    max_tokens: int


class _MadeFrom(_Parts):
    prepared: str


class _Run(_Parts):
    """The parts of run.json that later stages read."""

    fingerprint: str
    labels: list[str]
    best: _Best
    base_model: dict[str, Any] | None
    config: _Settings
    made_from: _MadeFrom


def read_run(run: Path) -> dict[str, Any]:
    """Return run.json of a finished training; ConfigError or DataError when it is missing or is no such file."""
    path = run / RUN_NAME
    if not path.exists():
        raise ConfigError(f"{path} is missing. {_explain_no_run(run)}")
    values = read_json(path)
    try:
        _Run.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{path} is not what train_encoder writes: {key}: {first['msg']}. Name a run, or train it again."
        ) from None
    return values


def hash_reviews(prepared: Path) -> str:
    """Return a hash of prepared reviews: of their labels, their cleaning and the files of their splits.

    Reviews that were prepared again and came out equal have the same hash; their prepared.json may differ.
    """
    manifest = read_json(prepared / PREPARED_NAME)
    paths = sorted(path for split in ("train", "validation", "test") for path in (prepared / split).glob("*.parquet"))
    files = {path.relative_to(prepared).as_posix(): hash_file(path) for path in paths}
    return fingerprint([manifest.get("labels"), manifest.get("steps", []), manifest.get("counts"), files])


def has_reviews_of(prepared: Path, run: Mapping[str, Any]) -> bool:
    """Whether a directory holds the prepared reviews of a run; `run` is its run.json or config.json."""
    manifest = prepared / PREPARED_NAME
    if not manifest.is_file():
        return False
    if hash_file(manifest) == run["made_from"]["prepared"]:
        return True
    return "reviews" in run and hash_reviews(prepared) == run["reviews"]


def find_checkpoint(run: Path, values: dict[str, Any]) -> Path:
    """Return the directory of the best checkpoint of a run; ConfigError when it is not inside the run."""
    name: str = values["best"]["checkpoint"]
    path = run / name
    if not path.resolve().is_relative_to(run.resolve()):
        raise ConfigError(f"{run / RUN_NAME} names the checkpoint {quote(name)}, outside the run. Train it again.")
    return path


def describe_checkpoint(run: Path, values: dict[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Return `checkpoint`, `epoch` and `metrics` of a checkpoint, in the form of `best` in run.json.

    The path is relative to the run. `metrics` is None for a checkpoint within an epoch, which was not measured.
    """
    best: dict[str, Any] = values["best"]
    if checkpoint.resolve() == (run / best["checkpoint"]).resolve():
        return dict(best)
    inside = checkpoint.resolve().is_relative_to(run.resolve())
    name = checkpoint.resolve().relative_to(run.resolve()).as_posix() if inside else checkpoint.name
    manifest = checkpoint / "checkpoint.json"
    progress = read_json(manifest).get("progress", {}) if manifest.is_file() else {}
    history = progress.get("history")
    if not history or progress.get("done"):
        return {"checkpoint": name, "epoch": progress.get("epoch"), "metrics": None}
    metrics = {key: history[-1][key] for key in best.get("metrics", {}) if key in history[-1]}
    return {"checkpoint": name, "epoch": progress["epoch"], "metrics": metrics}


def name_base_model(settings: dict[str, Any]) -> dict[str, str]:
    """Return `model`, the name of the model that a training began with, and `model_source`, without a path.

    The source is `hub`, with the name OWNER/NAME@COMMIT; or `run` or `directory`, with the last name of the path.
    """
    model: str = settings["model"]
    if settings.get("start_from"):
        return {"model": PurePath(settings["start_from"]).name, "model_source": "run"}
    if PurePath(model).is_absolute():
        return {"model": PurePath(model).name, "model_source": "directory"}
    revision = settings.get("revision")
    return {"model": f"{model}@{revision}" if revision else model, "model_source": "hub"}


def _explain_no_run(run: Path) -> str:
    """Return what is where a run should be, and what to do."""
    if (run / "attempts").is_dir() and (run / PLAN_NAME).is_file():
        return "The training has not ended: give its command again, and it goes on."
    if (run / "bundle.json").is_file():
        return f"{run} is a bundle. Name the run that it was made from."
    if (run / PREPARED_NAME).is_file():
        return f"{run} holds prepared reviews. Train on them with train_encoder and name its output."
    if (run / PLAN_NAME).is_file():
        return f"{run} is a model. Train it with train_encoder and name its output."
    if not run.is_dir():
        return f"{run} {'is a file' if run.exists() else 'does not exist'}. Name the output of train_encoder."
    return "Name the output of train_encoder."

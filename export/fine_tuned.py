"""Exports the checkpoint of a run. Knows no engine and no gate."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.calibration import fold_temperature
from export.config import ExportConfig
from export.exported_model import CardContent, Reading
from export.graph import export_graph
from export.held_out import HeldOut, score_held_out
from export.model_card import make_fine_tuned_card
from export.model_files import copy_model_files
from export.variants import Source
from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.manifest import hash_file
from sentiment_ray.metrics.classification import classification_metrics, confusion_counts
from sentiment_ray.paths import local_path
from sentiment_ray.pretrained.directory import explain_no_weights
from sentiment_ray.pretrained.open import open_model
from sentiment_ray.pretrained.runs import (
    PREPARED_NAME,
    describe_checkpoint,
    find_checkpoint,
    has_reviews_of,
    name_base_model,
    read_run,
)
from sentiment_ray.text.encoding import TextEncoder
from sentiment_ray.text.truncation import read_truncation


@dataclass(frozen=True)
class FineTunedModel:
    """A checkpoint of a run; see `ExportedModel`."""

    config: ExportConfig
    path: Path
    run: dict[str, Any]
    checkpoint: Path
    labels: tuple[str, ...]
    reading: Reading
    made_from: dict[str, str]
    has_reviews: bool = True

    def copy_files(self, directory: Path) -> None:
        """Copy config.json and the tokenizer's files of the checkpoint."""
        with open_model(self.checkpoint, key="checkpoint") as opened:
            copy_model_files(
                opened,
                directory,
                labels=self.labels,
                max_tokens=self.reading.max_tokens,
                truncation=self.reading.truncation,
            )

    def score_held_out(self, encoder: TextEncoder) -> HeldOut:
        """Return validation reviews of the run. DataError without any, and when others are where they were."""
        prepared = Path(self.run["config"]["prepared"])
        if (prepared / PREPARED_NAME).is_file() and not has_reviews_of(prepared, self.run):
            raise DataError(
                f"{prepared} holds other reviews than the run was trained on, so its validation reviews may be among "
                "those that the run was trained on. Prepare the reviews as they were, or train again."
            )
        return score_held_out(self.config, prepared, self.checkpoint, encoder, self.labels)

    def write_graph(self, source: Source, held_out: HeldOut) -> None:
        """Write the plain ONNX file of the checkpoint, with the temperature in its last layer."""
        fold_temperature(self.checkpoint, held_out.temperature, source.checkpoint)
        export_graph(source.checkpoint, source.model)

    def describe_training(self, held_out: HeldOut) -> dict[str, Any]:
        """Return what the manifest says of the training; `best` describes the checkpoint that is exported.

        It holds no path of this machine, because bundles are published.
        """
        exported = describe_checkpoint(self.path, self.run, self.checkpoint)
        if exported["metrics"] is None:  # a checkpoint within an epoch
            counts = confusion_counts(held_out.label_ids, held_out.scores.label_ids, len(self.labels))
            exported["metrics"] = classification_metrics(counts)
        return {
            "best": exported,
            "is_best": exported["checkpoint"] == self.run["best"]["checkpoint"],
            "base_model": self.run["base_model"],
            **name_base_model(self.run["config"]),
            "made_from": self.run["made_from"],
        }

    def make_card(self, content: CardContent) -> str:
        """Return the model card."""
        return make_fine_tuned_card(self.labels, content)


def find_fine_tuned(config: ExportConfig) -> FineTunedModel:
    """Return the checkpoint that a configuration names. ConfigError when there is none."""
    path = local_path(config.run or "", "run")
    run = read_run(path)
    checkpoint = path / config.checkpoint if config.checkpoint else find_checkpoint(path, run)
    if not (checkpoint / "model.safetensors").is_file():
        raise ConfigError(f"checkpoint = {str(checkpoint)!r} {explain_no_weights(checkpoint)} Or train the run again.")
    settings = run["config"]
    return FineTunedModel(
        config,
        path,
        run,
        checkpoint,
        tuple(run["labels"]),
        Reading(settings["max_tokens"], read_truncation(settings), tuple(run.get("steps", ()))),
        {"run": run["fingerprint"], "checkpoint": hash_file(checkpoint / "model.safetensors")},
    )

"""Hyperparameters of a fine-tuning job: as they are asked for, as keys of [train], and as training has chosen them."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

AUTO = "auto"
MAX_EPOCHS, MAX_BATCH_SIZE, MAX_MULTIPLIER = 50, 256, 100.0
LEARNING_RATE = 5e-5
"""The learning rate that `learning_rate_multiplier` multiplies."""
MIN_STEPS, FEWEST_EPOCHS = 200, 2
"""What training aims at by itself; see "Few rows" in docs/training.md."""
FEW_EXAMPLES = 100
FEW_EXAMPLES_KEYS = {"contrastive_weight": 1.0, "learning_rate": 1e-4}
"""Keys of [train] that training chooses for so few examples, unless the size of a batch is given."""


def _read_whole_number(maximum: int) -> Any:
    def read(value: Any) -> int | str:
        if value == AUTO:
            return AUTO
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= maximum:
            raise ValueError(f"give {AUTO!r} or a whole number from 1 to {maximum}")
        return value

    schema = {"anyOf": [{"const": AUTO, "type": "string"}, {"type": "integer", "minimum": 1, "maximum": maximum}]}
    return Annotated[int | str, PlainValidator(read), WithJsonSchema(schema)]


def _read_multiplier(value: Any) -> float | str:
    if value == AUTO:
        return AUTO
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= MAX_MULTIPLIER:
        raise ValueError(f"give {AUTO!r} or a number above 0, up to {MAX_MULTIPLIER:g}")
    return float(value)


MULTIPLIER_SCHEMA = {
    "anyOf": [
        {"const": AUTO, "type": "string"},
        {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_MULTIPLIER},
    ]
}


class Hyperparameters(BaseModel):
    """`hyperparameters` of a request; `auto` leaves a number to the training."""

    model_config = ConfigDict(extra="forbid")

    n_epochs: _read_whole_number(MAX_EPOCHS) = AUTO  # type: ignore[valid-type]
    batch_size: _read_whole_number(MAX_BATCH_SIZE) = AUTO  # type: ignore[valid-type]
    learning_rate_multiplier: Annotated[
        float | str, PlainValidator(_read_multiplier), WithJsonSchema(MULTIPLIER_SCHEMA)
    ] = Field(default=AUTO)


def make_train_keys(
    hyperparameters: Mapping[str, Any], *, num_examples: int, max_tokens: int, has_new_head: bool
) -> dict[str, Any]:
    """Return the keys of [train] that stand for hyperparameters; those that are `auto` are left to the training.

    An epoch of the API is one pass over the examples. `has_new_head` is false for a model that was fine-tuned before.
    """
    n_epochs, batch_size = hyperparameters["n_epochs"], hyperparameters["batch_size"]
    multiplier = hyperparameters["learning_rate_multiplier"]
    keys: dict[str, Any] = {}
    if batch_size != AUTO:
        if num_examples <= FEW_EXAMPLES and has_new_head:
            keys |= FEW_EXAMPLES_KEYS
        keys |= {"rows_per_batch": batch_size, "tokens_per_batch": batch_size * max_tokens}
        if n_epochs == AUTO:
            steps_per_pass = -(-num_examples // batch_size)
            keys["passes_per_epoch"] = math.ceil(MIN_STEPS / (FEWEST_EPOCHS * steps_per_pass))
    if n_epochs != AUTO:
        keys |= {"epochs": n_epochs, "passes_per_epoch": 1}
    if multiplier != AUTO:
        keys["learning_rate"] = multiplier * LEARNING_RATE
    return keys


def read_chosen(run_config: Mapping[str, Any], *, num_examples: int, total_steps: int) -> dict[str, Any]:
    """Return the hyperparameters of a training from its config.json, as numbers.

    `batch_size` is a mean where batches have equally many tokens instead of equally many examples.
    """
    chosen = run_config["chosen"]
    n_epochs = run_config["config"]["epochs"] * (chosen.get("passes_per_epoch") or 1)
    batch_size = chosen.get("rows_per_batch") or round(num_examples * n_epochs / max(1, total_steps))
    multiplier = round(chosen["learning_rate"] / LEARNING_RATE, 6)
    return {"n_epochs": n_epochs, "batch_size": max(1, batch_size), "learning_rate_multiplier": multiplier}

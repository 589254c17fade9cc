"""The learning rate, class weights, scores of checkpoints and early stopping; knows no model.

To change the learning rate schedule, change `compute_learning_rate`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sentiment_ray.errors import ConfigError
from sentiment_ray.train.config import TrainConfig

NO_SCORE = -1e30
"""Score of a checkpoint that must not become the best: one within an epoch, or one whose metric is NaN."""


def compute_learning_rate(done: float, config: TrainConfig) -> float:
    """Return the learning rate after the share `done` of the training: linear warm-up, then linear decay to 0."""
    if done < config.warmup_ratio:
        return config.learning_rate * done / config.warmup_ratio
    return config.learning_rate * (1 - done) / (1 - config.warmup_ratio)


def compute_score(metrics: dict[str, Any], best_by: str) -> float:
    """Return the score of a checkpoint from the metrics of its epoch; the highest score is the best."""
    score = -float(metrics[best_by]) if best_by == "validation_loss" else float(metrics[best_by])
    return NO_SCORE if math.isnan(score) else score


def should_stop(history: list[dict[str, Any]], config: TrainConfig) -> bool:
    """Return whether none of the last `early_stopping` epochs was better than the best epoch before them."""
    if not config.early_stopping or len(history) <= config.early_stopping:
        return False
    scores = [compute_score(metrics, config.best_by) for metrics in history]
    return max(scores[-config.early_stopping :]) <= max(scores[: -config.early_stopping])


def compute_class_weights(config: TrainConfig, labels: Sequence[str], counts: Mapping[str, float]) -> list[float]:
    """Return the weight of each label in the loss, in the order of `labels`.

    It is 1 for `none`, the configured weight (1 where there is none), or for `balanced` the number of rows divided by
    the number of labels and the label's own rows. `counts` holds the training rows of each label. ConfigError for an
    unknown label, and for `balanced` when a label has no rows.
    """
    if config.class_weights == "none":
        return [1.0] * len(labels)
    if config.class_weights == "balanced":
        empty = [label for label in labels if not counts.get(label)]
        if empty:
            raise ConfigError(
                f"class_weights = 'balanced': the training split has no row with the label {empty[0]!r}. "
                "Set the weights by label."
            )
        return [sum(counts.values()) / (len(labels) * counts[label]) for label in labels]
    unknown = [label for label in config.class_weights if label not in labels]
    if unknown:
        raise ConfigError(f"class_weights: {unknown[0]!r} is not a label. Labels: {', '.join(labels)}.")
    return [config.class_weights.get(label, 1.0) for label in labels]

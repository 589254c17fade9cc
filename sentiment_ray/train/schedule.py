"""What is settled before or between steps: weights of labels, learning rates, scores, the end; knows no model."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sentiment_ray.errors import ConfigError
from sentiment_ray.train.config import TrainConfig

NO_SCORE = -1e30
"""Of a checkpoint that is not to be the best: one within an epoch, one whose loss is no number."""


def score_of(metrics: dict[str, Any], best_by: str) -> float:
    """Return what a checkpoint is judged by, so that more is better."""
    score = -float(metrics[best_by]) if best_by == "validation_loss" else float(metrics[best_by])
    return NO_SCORE if math.isnan(score) else score


def has_stopped(history: list[dict[str, Any]], config: TrainConfig) -> bool:
    """Whether the last `early_stopping` epochs were none better than the best before them."""
    if not config.early_stopping or len(history) <= config.early_stopping:
        return False
    scores = [score_of(metrics, config.best_by) for metrics in history]
    return max(scores[-config.early_stopping :]) <= max(scores[: -config.early_stopping])


def learning_rate_at(done: float, config: TrainConfig) -> float:
    """Return the learning rate when the share `done` of the training lies behind: linear warm-up, linear decay."""
    if done < config.warmup_share:
        return config.learning_rate * done / config.warmup_share
    return config.learning_rate * (1 - done) / (1 - config.warmup_share)


def class_weights_of(config: TrainConfig, labels: Sequence[str], counts: Mapping[str, float]) -> list[float]:
    """Return a weight for each label: 1, as told, or for `balanced` rows / (labels x rows of the label).

    `counts` are the rows of each label in the training split. ConfigError for a label that is unknown or has no rows.
    """
    if config.class_weights == "none":
        return [1.0] * len(labels)
    if config.class_weights == "balanced":
        empty = [label for label in labels if not counts.get(label)]
        if empty:
            raise ConfigError(
                f"class_weights = 'balanced': the training split has no row of {empty[0]!r}. Give weights by label."
            )
        return [sum(counts.values()) / (len(labels) * counts[label]) for label in labels]
    unknown = [label for label in config.class_weights if label not in labels]
    if unknown:
        raise ConfigError(f"class_weights: {unknown[0]!r} is no label. Labels: {', '.join(labels)}.")
    return [config.class_weights.get(label, 1.0) for label in labels]

"""Rows with made-up scores, whose measures a test can compute in another way."""

import numpy as np
from scipy.special import softmax

from sentiment_ray.evaluate.scored_rows import ScoredRows
from sentiment_ray.inference.scoring import Scores, compute_probabilities

LABELS = ("negative", "neutral", "positive")


def scored_from(logits: np.ndarray, label_ids: np.ndarray, labels: tuple[str, ...] = LABELS) -> ScoredRows:
    """Return rows whose probabilities are the softmax of their logits."""
    return ScoredRows(labels, np.asarray(label_ids), logits.argmax(axis=1), logits, softmax(logits, axis=1))


def random_scored(num_rows: int, *, seed: int = 0, labels: tuple[str, ...] = LABELS, steps: int = 0) -> ScoredRows:
    """Return rows that are right more often than by chance; logits rounded to 1 / `steps` are often equal."""
    rng = np.random.default_rng(seed)
    label_ids = rng.integers(0, len(labels), size=num_rows)
    logits = rng.normal(size=(num_rows, len(labels))) + 1.2 * np.eye(len(labels))[label_ids]
    return scored_from(np.round(logits * steps) / steps if steps else logits, label_ids, labels)


def calibrated(num_rows: int, *, seed: int, times: float = 1.0) -> ScoredRows:
    """Return rows with labels drawn by their probabilities, and logits then multiplied by `times`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_rows, 3)) * 2
    label_ids = (softmax(logits, axis=1).cumsum(axis=1) > rng.random((num_rows, 1))).argmax(axis=1)
    return scored_from(logits * times, label_ids)


def graded(right: list[bool], scores: list[float]) -> ScoredRows:
    """Return rows with two labels, all predicted as `a` with the given scores; `right` says which rows are `a`."""
    share = np.array(scores)
    logits = np.log(np.stack([share, 1 - share], axis=1))
    return scored_from(logits, np.where(right, 0, 1), ("a", "b"))


def as_scores(scored: ScoredRows, tokens: np.ndarray) -> Scores:
    """Return the scores as a Predictor does; texts of 64 tokens count as truncated."""
    logits = scored.logits.astype(np.float32)
    return Scores(logits, compute_probabilities(logits), scored.predicted_ids, tokens, tokens == 64, tokens * 0)

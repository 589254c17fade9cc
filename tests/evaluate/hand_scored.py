"""Rows with made-up scores, of which the right answers can be worked out another way."""

import numpy as np
from scipy.special import softmax

from sentiment_ray.evaluate.scored import Scored
from sentiment_ray.inference.predictor import Scores, probabilities_of

LABELS = ("negative", "neutral", "positive")


def scored_from(logits: np.ndarray, label_ids: np.ndarray, labels: tuple[str, ...] = LABELS) -> Scored:
    """Rows whose probabilities are the softmax of their logits."""
    return Scored(labels, np.asarray(label_ids), logits.argmax(axis=1), logits, softmax(logits, axis=1))


def random_scored(num_rows: int, *, seed: int = 0, labels: tuple[str, ...] = LABELS, steps: int = 0) -> Scored:
    """Rows that are right more often than by chance; with `steps` to a whole, many logits are equal."""
    rng = np.random.default_rng(seed)
    label_ids = rng.integers(0, len(labels), size=num_rows)
    logits = rng.normal(size=(num_rows, len(labels))) + 1.2 * np.eye(len(labels))[label_ids]
    return scored_from(np.round(logits * steps) / steps if steps else logits, label_ids, labels)


def calibrated(num_rows: int, *, seed: int, times: float = 1.0) -> Scored:
    """Rows whose labels were drawn by their own probabilities; then their logits are multiplied."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_rows, 3)) * 2
    label_ids = (softmax(logits, axis=1).cumsum(axis=1) > rng.random((num_rows, 1))).argmax(axis=1)
    return scored_from(logits * times, label_ids)


def graded(right: list[bool], scores: list[float]) -> Scored:
    """Two labels; each row is answered `a` with the given score, rightly or not."""
    share = np.array(scores)
    logits = np.log(np.stack([share, 1 - share], axis=1))
    return scored_from(logits, np.where(right, 0, 1), ("a", "b"))


def as_scores(scored: Scored, tokens: np.ndarray) -> Scores:
    """What a Predictor would have returned; texts of 64 tokens count as cut."""
    logits = scored.logits.astype(np.float32)
    return Scores(logits, probabilities_of(logits), scored.predicted_ids, tokens, tokens == 64, tokens * 0)

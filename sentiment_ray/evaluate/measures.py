"""Measures of labelled rows for many weightings at once: labels, then probabilities; knows no files and no pages."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from sentiment_ray.evaluate.ranking import ranking
from sentiment_ray.evaluate.scored import Scored
from sentiment_ray.metrics.classification import Measures, compute_measures
from sentiment_ray.metrics.intervals import Measure, confusion_counter, one_value_a_row

ECE_BINS = 15


def all_measures(scored: Scored, *, ordered: bool) -> Measure:
    """Return what measures rows in every way there is: labels, order and size of the probabilities."""
    count = confusion_counter(scored.label_ids, scored.predicted_ids, len(scored.labels))
    rank, loss = ranking(scored), losses(scored)
    return lambda weights: compute_measures(count(weights), ordered=ordered) | rank(weights) | loss(weights)


def losses(scored: Scored) -> Measure:
    """Return what measures the probabilities themselves: `log_loss`, `brier` and `ece`, the smaller the better.

    Log loss is in nats. The Brier score sums over all labels, so it lies between 0 and 2 (Brier, "Verification of
    forecasts expressed in terms of probability", 1950). The expected calibration error is the mean gap between score
    and accuracy in 15 bins of the score, of equal width from 0 to 1, weighted by their rows (Guo et al., "On
    Calibration of Modern Neural Networks", 2017, https://arxiv.org/abs/1706.04599).
    """
    rows = np.arange(scored.num_rows)
    truth = np.zeros_like(scored.probabilities)
    truth[rows, scored.label_ids] = 1
    log_loss = -log_softmax(scored.logits, axis=1)[rows, scored.label_ids]
    brier = ((scored.probabilities - truth) ** 2).sum(axis=1)
    each = np.stack([log_loss, brier], axis=1)
    gaps = one_value_a_row(bins_of(scored.score), ECE_BINS, scored.correct - scored.score)

    def measure(weights: NDArray[np.float64]) -> Measures:
        total = weights.sum(axis=1)
        means = weights @ each / total[:, None]
        return {
            "log_loss": means[:, 0],
            "brier": means[:, 1],
            "ece": np.abs(weights @ gaps).sum(axis=1) / total,
        }

    return measure


def bins_of(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each score `(rows,)`, of the equal ones from 0 to 1 that calibration is measured in."""
    return np.minimum((scores * ECE_BINS).astype(np.int64), ECE_BINS - 1)

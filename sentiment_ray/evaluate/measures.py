"""Builds the measures of scored rows, which take many weightings at once; knows no files and no pages."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from sentiment_ray.evaluate.ranking import make_ranking_measure
from sentiment_ray.evaluate.scored_rows import ScoredRows
from sentiment_ray.metrics.classification import Measures, compute_measures
from sentiment_ray.metrics.intervals import Measure, make_label_counter, one_value_a_row

ECE_BINS = 15


def make_all_measures(scored: ScoredRows, *, ordered: bool) -> Measure:
    """Return the function that computes every measure: of labels, of rankings, and of probabilities."""
    count = make_label_counter(scored.label_ids, scored.predicted_ids, len(scored.labels))
    rank, loss = make_ranking_measure(scored), make_loss_measure(scored)
    return lambda weights: compute_measures(count(weights), ordered=ordered) | rank(weights) | loss(weights)


def make_loss_measure(scored: ScoredRows) -> Measure:
    """Return the function that measures probabilities: `log_loss`, `brier` and `ece`; smaller is better.

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
    gaps = one_value_a_row(assign_bins(scored.score), ECE_BINS, scored.correct - scored.score)

    def measure(weights: NDArray[np.float64]) -> Measures:
        total = weights.sum(axis=1)
        means = weights @ each / total[:, None]
        return {
            "log_loss": means[:, 0],
            "brier": means[:, 1],
            "ece": np.abs(weights @ gaps).sum(axis=1) / total,
        }

    return measure


def assign_bins(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the calibration bin of each score, int64 `(rows,)`: 15 bins of equal width from 0 to 1."""
    return np.minimum((scores * ECE_BINS).astype(np.int64), ECE_BINS - 1)

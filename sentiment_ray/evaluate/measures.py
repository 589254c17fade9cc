"""Measures of labelled rows for many weightings at once: labels, then probabilities; knows no files and no pages."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import log_softmax

from sentiment_ray.evaluate.ranking import ranking
from sentiment_ray.evaluate.resampling import Measure, Measures
from sentiment_ray.evaluate.scored import Scored

ECE_BINS = 15


def measures_of_counts(counts: NDArray[np.float64], *, ordered: bool) -> Measures:
    """Return what confusion counts `(resamples, labels, labels)` alone say, the true label down.

    A precision, recall or F1 that would divide by nothing is 0, as in scikit-learn. Matthews' coefficient is that of
    several labels (Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient", 2004,
    https://doi.org/10.1016/j.compbiolchem.2004.09.006). Quadratic kappa (Cohen, "Weighted kappa", 1968,
    https://doi.org/10.1037/h0026256) is there when the labels are steps of a scale.
    """
    hits = np.diagonal(counts, axis1=1, axis2=2)
    labelled, predicted, total = counts.sum(axis=2), counts.sum(axis=1), counts.sum(axis=(1, 2))
    each = {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, labelled),
        "f1": _ratio(2 * hits, labelled + predicted),
    }
    chance = (labelled * predicted).sum(axis=1)
    spread = (total**2 - (labelled**2).sum(axis=1)) * (total**2 - (predicted**2).sum(axis=1))
    measures = {
        "accuracy": hits.sum(axis=1) / total,
        **{f"macro_{name}": values.mean(axis=1) for name, values in each.items()},
        **each,
        "matthews": _ratio(total * hits.sum(axis=1) - chance, np.sqrt(spread)),
    }
    if ordered:
        steps = np.arange(counts.shape[1])
        distance = (steps[:, None] - steps) ** 2
        expected = np.einsum("rt,rp,tp->r", labelled, predicted, distance) / total
        found = (counts * distance).sum(axis=(1, 2))
        measures["quadratic_kappa"] = np.where(expected > 0, 1 - _ratio(found, expected), np.nan)
    return measures


def all_measures(scored: Scored, *, ordered: bool) -> Measure:
    """Return what measures rows in every way there is: labels, order and size of the probabilities."""
    counting, rank, loss = label_counts(scored), ranking(scored), losses(scored)
    return lambda weights: measures_of_counts(counting(weights), ordered=ordered) | rank(weights) | loss(weights)


def label_counts(scored: Scored) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return what turns weights `(resamples, rows)` into confusion counts `(resamples, labels, labels)`."""
    num_labels = len(scored.labels)
    cells = _sorted_into(scored.label_ids * num_labels + scored.predicted_ids, num_labels**2)
    return lambda weights: (weights @ cells).reshape(-1, num_labels, num_labels)


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
    gaps = _sorted_into(bins_of(scored.score), ECE_BINS, scored.correct - scored.score)

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


def _sorted_into(places: NDArray[np.int64], num_places: int, values: NDArray[np.float64] | None = None) -> csr_array:
    """Return a sparse float64 `(rows, places)` that has each row's value, by default 1, at its place."""
    rows = len(places)
    values = np.ones(rows) if values is None else values
    return csr_array((values, places, np.arange(rows + 1)), shape=(rows, num_places))


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return part / whole, and 0 where there is no whole."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)

"""Measures how well probabilities rank the rows of a label before the others: areas under curves, and the curves."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from sentiment_ray.evaluate.scored_rows import ScoredRows
from sentiment_ray.metrics.classification import Measures
from sentiment_ray.metrics.intervals import Measure
from sentiment_ray.sampling import evenly_spaced_rows

MAX_POINTS = 200
"""Points kept of a curve: more than a screen shows, few enough for a file."""


def make_ranking_measure(scored: ScoredRows) -> Measure:
    """Return the function that measures `roc_auc` and `average_precision` of each label against the rest, and means.

    A label that no row has, or that all rows have, gets NaN, and the means leave it out.
    """
    label_ids = range(len(scored.labels))
    ranked = [_rank(scored.probabilities[:, label_id], scored.label_ids == label_id) for label_id in label_ids]

    def measure(weights: NDArray[np.float64]) -> Measures:
        areas = [_compute_areas(weights[:, order], hits, ends) for order, hits, ends in ranked]
        roc_auc, average_precision = (np.stack(values, axis=1) for values in zip(*areas, strict=True))
        return {
            "macro_roc_auc": _mean_of_defined(roc_auc),
            "macro_average_precision": _mean_of_defined(average_precision),
            "roc_auc": roc_auc,
            "average_precision": average_precision,
        }

    return measure


def compute_curves(scored: ScoredRows) -> dict[str, dict[str, Any]]:
    """Return the points of the ROC and precision-recall curves of every label that some rows have and some lack."""
    drawn = {}
    for label_id, label in enumerate(scored.labels):
        hits = scored.label_ids == label_id
        if hits.any() and not hits.all():
            false_positives, recall, _ = roc_curve(hits, scored.probabilities[:, label_id])
            precision, precision_recall, _ = precision_recall_curve(hits, scored.probabilities[:, label_id])
            drawn[label] = {
                "roc": {"false_positive_rate": thin_out(false_positives), "true_positive_rate": thin_out(recall)},
                "precision_recall": {
                    "recall": thin_out(precision_recall[::-1]),
                    "precision": thin_out(precision[::-1]),
                },
            }
    return drawn


def thin_out(values: NDArray[np.float64]) -> list[float]:
    """Return at most 200 evenly spaced values, first and last among them."""
    return [round(float(value), 6) for value in values[evenly_spaced_rows(len(values), MAX_POINTS)]]


def _rank(
    scores: NDArray[np.float64], hits: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.intp]]:
    """Return the order from the highest score down, the hits in this order, and the last index of each score."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    return order, hits[order], ends


def _compute_areas(
    weights: NDArray[np.float64], hits: NDArray[np.bool_], ends: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return `(resamples,)` areas under the ROC curve, by trapezoids, and average precision, by steps."""
    retrieved = np.cumsum(weights * hits, axis=1)[:, ends]
    misses = np.cumsum(weights, axis=1)[:, ends] - retrieved
    num_hits, num_misses = retrieved[:, -1], misses[:, -1]
    gained = np.diff(retrieved, axis=1, prepend=0)
    above = (np.diff(misses, axis=1, prepend=0) * (retrieved - gained / 2)).sum(axis=1)
    precision_sum = (gained * retrieved / np.maximum(retrieved + misses, 1)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        average_precision = np.where(num_misses > 0, precision_sum / num_hits, np.nan)
        return above / (num_hits * num_misses), average_precision


def _mean_of_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the finite values of each row of `(resamples, labels)`."""
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, values, 0).sum(axis=1) / defined.sum(axis=1))

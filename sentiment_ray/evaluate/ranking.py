"""How well probabilities put the rows of a label before the others: areas under curves, and curves to draw."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from sentiment_ray.evaluate.scored import Scored
from sentiment_ray.metrics.classification import Measures
from sentiment_ray.metrics.intervals import Measure
from sentiment_ray.sampling import evenly_spaced_rows

MAX_POINTS = 200
"""Points kept of a curve: more than a screen shows, and few enough for a file."""


def ranking(scored: Scored) -> Measure:
    """Return what measures `roc_auc` and `average_precision` of each label against the rest, and their means.

    NaN stands for a label that no row has, or all have; means are those of the other labels.
    """
    places = range(len(scored.labels))
    ranked = [_ranked(scored.probabilities[:, place], scored.label_ids == place) for place in places]

    def measure(weights: NDArray[np.float64]) -> Measures:
        areas = [_areas(weights[:, order], hits, ends) for order, hits, ends in ranked]
        roc_auc, average_precision = (np.stack(values, axis=1) for values in zip(*areas, strict=True))
        return {
            "macro_roc_auc": _mean(roc_auc),
            "macro_average_precision": _mean(average_precision),
            "roc_auc": roc_auc,
            "average_precision": average_precision,
        }

    return measure


def curves(scored: Scored) -> dict[str, dict[str, Any]]:
    """Return by label the points of its ROC and precision-recall curves; nothing for one that no row, or every, has."""
    drawn = {}
    for place, label in enumerate(scored.labels):
        hits = scored.label_ids == place
        if hits.any() and not hits.all():
            false_positives, recall, _ = roc_curve(hits, scored.probabilities[:, place])
            precision, found, _ = precision_recall_curve(hits, scored.probabilities[:, place])
            drawn[label] = {
                "roc": {"false_positive_rate": thinned(false_positives), "true_positive_rate": thinned(recall)},
                "precision_recall": {"recall": thinned(found[::-1]), "precision": thinned(precision[::-1])},
            }
    return drawn


def thinned(values: NDArray[np.float64]) -> list[float]:
    """Return at most 200 values, first and last among them, evenly taken."""
    return [round(float(value), 6) for value in values[evenly_spaced_rows(len(values), MAX_POINTS)]]


def _ranked(
    scores: NDArray[np.float64], hits: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.intp]]:
    """Return the order from the highest score down, the hits in it, and the last place of each score."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    return order, hits[order], ends


def _areas(
    weights: NDArray[np.float64], hits: NDArray[np.bool_], ends: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return `(resamples,)` areas under the ROC curve, by trapezoids, and average precision, by steps."""
    found = np.cumsum(weights * hits, axis=1)[:, ends]
    misses = np.cumsum(weights, axis=1)[:, ends] - found
    num_hits, num_misses = found[:, -1], misses[:, -1]
    gained = np.diff(found, axis=1, prepend=0)
    above = (np.diff(misses, axis=1, prepend=0) * (found - gained / 2)).sum(axis=1)
    precision_sum = (gained * found / np.maximum(found + misses, 1)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        average_precision = np.where(num_misses > 0, precision_sum / num_hits, np.nan)
        return above / (num_hits * num_misses), average_precision


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over labels of `(resamples, labels)`, of those that are defined."""
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, values, 0).sum(axis=1) / defined.sum(axis=1))

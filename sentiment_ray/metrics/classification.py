"""Accuracy, F1 and their kin, computed from confusion counts; knows no probabilities, models or files."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Measures = dict[str, NDArray[np.float64]]
"""Arrays `(resamples, ...)` by the name of the measure."""


@dataclass(frozen=True)
class LabelCounts:
    """All that measures need of the confusion counts of some resamples, in memory for each label, not each pair.

    Float64 `(resamples, labels)`: `hits` are the rows that were predicted right, `labelled` those with the label, and
    `predicted` those that were given it. `squared_distance`, float64 `(resamples,)`, is the sum over the rows of the
    squared number of steps between label and prediction.
    """

    hits: NDArray[np.float64]
    labelled: NDArray[np.float64]
    predicted: NDArray[np.float64]
    squared_distance: NDArray[np.float64]


def confusion_counts(
    label_ids: NDArray[np.int64], predicted_ids: NDArray[np.int64], num_labels: int
) -> NDArray[np.int64]:
    """Count the pairs of true and predicted label: int64 `(labels, labels)`, the true label down the rows.

    Counts of disjoint rows may be added, so the counts of several workers sum to those of all rows.
    """
    pairs = np.asarray(label_ids, dtype=np.int64) * num_labels + np.asarray(predicted_ids, dtype=np.int64)
    return np.bincount(pairs, minlength=num_labels * num_labels).reshape(num_labels, num_labels).astype(np.int64)


def classification_metrics(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Return rows, accuracy, macro_f1 and the list f1, one value a label, from confusion counts `(labels, labels)`."""
    measures = compute_measures(sum_by_label(counts[None].astype(np.float64)))
    return {
        "rows": int(counts.sum()),
        "accuracy": float(measures["accuracy"][0]),
        "macro_f1": float(measures["macro_f1"][0]),
        "f1": [float(value) for value in measures["f1"][0]],
    }


def sum_by_label(counts: NDArray[np.float64]) -> LabelCounts:
    """Sum confusion counts, float64 `(resamples, labels, labels)` with the true label down the rows, by label."""
    steps = np.arange(counts.shape[1])
    return LabelCounts(
        hits=np.diagonal(counts, axis1=1, axis2=2),
        labelled=counts.sum(axis=2),
        predicted=counts.sum(axis=1),
        squared_distance=(counts * (steps[:, None] - steps) ** 2).sum(axis=(1, 2)),
    )


def compute_measures(counts: LabelCounts, *, ordered: bool = False) -> Measures:
    """Return every measure of classes that the counts of each resample determine.

    A precision, recall or F1 that would divide by zero is 0, as in scikit-learn. Matthews' coefficient is the one for
    several labels (Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient", 2004,
    https://doi.org/10.1016/j.compbiolchem.2004.09.006). Quadratic kappa (Cohen, "Weighted kappa", 1968,
    https://doi.org/10.1037/h0026256) is added when the labels are `ordered`, as the steps of a scale are.
    """
    hits, labelled, predicted = counts.hits, counts.labelled, counts.predicted
    total = labelled.sum(axis=1)
    by_label = {
        "precision": _divide(hits, predicted),
        "recall": _divide(hits, labelled),
        "f1": _divide(2 * hits, labelled + predicted),
    }
    chance = (labelled * predicted).sum(axis=1)
    spread = (total**2 - (labelled**2).sum(axis=1)) * (total**2 - (predicted**2).sum(axis=1))
    measures = {
        "accuracy": hits.sum(axis=1) / total,
        **{f"macro_{name}": values.mean(axis=1) for name, values in by_label.items()},
        **by_label,
        "matthews": _divide(total * hits.sum(axis=1) - chance, np.sqrt(spread)),
    }
    if ordered:
        steps = np.arange(labelled.shape[1])
        distance = (steps[:, None] - steps) ** 2
        expected = np.einsum("rt,rp,tp->r", labelled, predicted, distance) / total
        measures["quadratic_kappa"] = np.where(expected > 0, 1 - _divide(counts.squared_distance, expected), np.nan)
    return measures


def _divide(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)

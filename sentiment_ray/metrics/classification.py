"""Accuracy, F1 and their kin, computed from confusion counts; knows no probabilities, models or files."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Measures = dict[str, NDArray[np.float64]]
"""Arrays `(resamples, ...)` by the name of the measure."""


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
    measures = compute_measures(counts[None].astype(np.float64))
    return {
        "rows": int(counts.sum()),
        "accuracy": float(measures["accuracy"][0]),
        "macro_f1": float(measures["macro_f1"][0]),
        "f1": [float(value) for value in measures["f1"][0]],
    }


def compute_measures(counts: NDArray[np.float64], *, ordered: bool = False) -> Measures:
    """Return every measure that confusion counts `(resamples, labels, labels)` determine; true labels down the rows.

    A precision, recall or F1 that would divide by zero is 0, as in scikit-learn. Matthews' coefficient is the one for
    several labels (Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient", 2004,
    https://doi.org/10.1016/j.compbiolchem.2004.09.006). Quadratic kappa (Cohen, "Weighted kappa", 1968,
    https://doi.org/10.1037/h0026256) is added when the labels are `ordered`, as the steps of a scale are.
    """
    hits = np.diagonal(counts, axis1=1, axis2=2)
    labelled, predicted, total = counts.sum(axis=2), counts.sum(axis=1), counts.sum(axis=(1, 2))
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
        steps = np.arange(counts.shape[1])
        distance = (steps[:, None] - steps) ** 2
        expected = np.einsum("rt,rp,tp->r", labelled, predicted, distance) / total
        observed = (counts * distance).sum(axis=(1, 2))
        measures["quadratic_kappa"] = np.where(expected > 0, 1 - _divide(observed, expected), np.nan)
    return measures


def _divide(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)

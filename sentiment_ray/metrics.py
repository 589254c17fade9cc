"""Accuracy and macro-F1 from counts, and the temperature of scores; knows no models and no files."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

TEMPERATURES = (0.05, 20.0)


def confusion_counts(
    label_ids: NDArray[np.int64], predicted_ids: NDArray[np.int64], num_labels: int
) -> NDArray[np.int64]:
    """Count pairs: int64 `(labels, labels)`, the true label down and the predicted one across.

    Counts of disjoint rows may be added, so that workers' shares sum to the exact whole.
    """
    pairs = np.asarray(label_ids, dtype=np.int64) * num_labels + np.asarray(predicted_ids, dtype=np.int64)
    return np.bincount(pairs, minlength=num_labels * num_labels).reshape(num_labels, num_labels).astype(np.int64)


def classification_metrics(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Return rows, accuracy, macro_f1 and the F1 of each label's place, from confusion counts `(labels, labels)`."""
    from sklearn.metrics import accuracy_score, f1_score

    num_labels = len(counts)
    label_ids, predicted_ids = np.divmod(np.arange(num_labels * num_labels), num_labels)
    weights = counts.ravel()
    f1 = f1_score(
        label_ids, predicted_ids, labels=range(num_labels), average=None, sample_weight=weights, zero_division=0
    )
    return {
        "rows": int(counts.sum()),
        "accuracy": float(accuracy_score(label_ids, predicted_ids, sample_weight=weights)),
        "macro_f1": float(np.mean(f1)),
        "f1": [float(value) for value in f1],
    }


def macro_f1_drop_interval(
    label_ids: NDArray[np.int64],
    reference_ids: NDArray[np.int64],
    predicted_ids: NDArray[np.int64],
    *,
    num_labels: int,
    resamples: int = 1000,
) -> list[float]:
    """Return the 95 % interval of the reference's macro-F1 minus the predictions', by a paired bootstrap over rows.

    Rows with the same label and the same two answers are alike, so the counts of these triples are drawn (multinomial)
    instead of rows. The draw has a fixed seed.
    """
    shape = (num_labels, num_labels, num_labels)
    triples = np.ravel_multi_index((label_ids, reference_ids, predicted_ids), shape)
    shares = np.bincount(triples, minlength=num_labels**3) / len(label_ids)
    drawn = np.random.default_rng(0).multinomial(len(label_ids), shares, size=resamples).reshape(resamples, *shape)
    drops = _macro_f1(drawn.sum(axis=3)) - _macro_f1(drawn.sum(axis=2))
    return [float(bound) for bound in np.percentile(drops, [2.5, 97.5])]


def fit_temperature(logits: NDArray[np.floating[Any]], label_ids: NDArray[np.int64]) -> float:
    """Return the number, 0.05 to 20, that logits `(texts, labels)` are divided by for the labels to be likeliest.

    Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", 2017, https://arxiv.org/abs/1706.04599)
    changes no label. 1 where all rows are right, for then the smallest number would always be best.
    """
    if np.array_equal(logits.argmax(axis=1), label_ids):
        return 1.0
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    rows, wide = np.arange(len(label_ids)), logits.astype(np.float64)

    def log_loss(log_temperature: float) -> float:
        return -float(log_softmax(wide / np.exp(log_temperature), axis=1)[rows, label_ids].mean())

    bounds = tuple(np.log(TEMPERATURES))
    found = minimize_scalar(log_loss, bounds=bounds, method="bounded", options={"xatol": 1e-5})
    return float(np.exp(found.x))


def _macro_f1(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return macro-F1 `(draws,)` of confusion counts `(draws, labels, labels)`; a label that is nowhere counts as 0."""
    right = np.diagonal(counts, axis1=1, axis2=2)
    either = counts.sum(axis=1) + counts.sum(axis=2)
    return np.asarray((2 * right / np.maximum(either, 1)).mean(axis=1))

"""Metrics from counts equal those from rows, however the rows are divided."""

import numpy as np
from sklearn.metrics import accuracy_score, f1_score

from sentiment_ray.metrics import classification_metrics, confusion_counts, fit_temperature


def test_counts_of_shares_sum_to_the_metrics_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    label_ids, predicted_ids = rng.integers(0, 3, size=(2, 1001))
    counts = sum(confusion_counts(label_ids[part::3], predicted_ids[part::3], 3) for part in range(3))
    metrics = classification_metrics(np.asarray(counts))
    assert metrics["rows"] == 1001
    assert np.isclose(metrics["accuracy"], accuracy_score(label_ids, predicted_ids))
    assert np.isclose(metrics["macro_f1"], f1_score(label_ids, predicted_ids, average="macro"))


def test_a_label_that_never_occurs_counts_as_zero() -> None:
    metrics = classification_metrics(np.array([[2, 0, 0], [0, 0, 0], [0, 0, 2]]))
    assert metrics["accuracy"] == 1
    assert np.isclose(metrics["macro_f1"], 2 / 3)


def test_rows_that_are_all_right_say_nothing_of_a_temperature() -> None:
    label_ids = np.arange(60) % 3
    assert fit_temperature(4.0 * np.eye(3)[label_ids], label_ids) == 1.0
    mixed = np.where(np.arange(60) % 5 == 0, (label_ids + 1) % 3, label_ids)
    assert 1.5 < fit_temperature(4.0 * np.eye(3)[label_ids], mixed) < 3

"""Metrics from counts equal those from rows, and one core serves training, export and evaluation."""

import tracemalloc

import numpy as np
from sklearn.metrics import accuracy_score, f1_score

from sentiment_ray.metrics.classification import (
    Measures,
    classification_metrics,
    compute_measures,
    confusion_counts,
    sum_by_label,
)
from sentiment_ray.metrics.intervals import bootstrap, bootstrap_difference, make_label_counter
from sentiment_ray.metrics.temperature import fit_temperature


def test_counts_of_shares_sum_to_the_metrics_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    label_ids, predicted_ids = rng.integers(0, 3, size=(2, 1001))
    counts = sum(confusion_counts(label_ids[part::3], predicted_ids[part::3], 3) for part in range(3))
    metrics = classification_metrics(np.asarray(counts))
    assert metrics["rows"] == 1001
    assert metrics["accuracy"] == accuracy_score(label_ids, predicted_ids)
    assert metrics["f1"] == f1_score(label_ids, predicted_ids, average=None).tolist()
    assert metrics["macro_f1"] == f1_score(label_ids, predicted_ids, average="macro")


def test_a_label_that_never_occurs_counts_as_zero() -> None:
    metrics = classification_metrics(np.array([[2, 0, 0], [0, 0, 0], [0, 0, 2]]))
    assert metrics["accuracy"] == 1
    assert np.isclose(metrics["macro_f1"], 2 / 3)


def test_a_paired_difference_has_the_interval_that_resampling_whole_rows_gives() -> None:
    rng = np.random.default_rng(1)
    label_ids = rng.integers(0, 3, size=500)
    first, second = (np.where(rng.random(500) < share, label_ids, rng.integers(0, 3, size=500)) for share in (0.9, 0.8))
    count_first, count_second = (make_label_counter(label_ids, ids, 3) for ids in (first, second))

    def measure(weights: np.ndarray) -> Measures:
        measures = [compute_measures(count(weights)) for count in (count_first, count_second)]
        return {name: measures[0][name] - measures[1][name] for name in ("accuracy", "macro_f1")}

    by_row = bootstrap(measure, 500, seed=0)
    by_count = bootstrap_difference(label_ids, first, second, num_labels=3, seed=0)
    for name in ("accuracy", "macro_f1"):
        assert by_count[name] == by_row[name]
        assert np.allclose(by_count["intervals"][name], by_row["intervals"][name], atol=0.01), name


def test_many_labels_are_compared_in_memory_for_the_rows_alone() -> None:
    label_ids = np.arange(1200) % 120
    difference = bootstrap_difference(label_ids, label_ids, (label_ids + 1) % 120, num_labels=120, seed=0)
    assert difference["accuracy"] == 1


def test_rows_that_are_all_right_say_nothing_of_a_temperature() -> None:
    label_ids = np.arange(60) % 3
    assert fit_temperature(4.0 * np.eye(3)[label_ids], label_ids) == 1.0
    mixed = np.where(np.arange(60) % 5 == 0, (label_ids + 1) % 3, label_ids)
    assert 1.5 < fit_temperature(4.0 * np.eye(3)[label_ids], mixed) < 3


def test_counts_by_label_are_the_sums_of_confusion_counts() -> None:
    rng = np.random.default_rng(2)
    label_ids, predicted_ids = rng.integers(0, 5, size=(2, 300))
    weights = rng.integers(0, 4, size=(7, 300)).astype(np.float64)
    confusion = np.stack(
        [confusion_counts(*np.repeat([label_ids, predicted_ids], row.astype(int), axis=1), 5) for row in weights]
    )
    direct, summed = make_label_counter(label_ids, predicted_ids, 5)(weights), sum_by_label(confusion.astype(float))
    for name, values in vars(summed).items():
        assert np.array_equal(getattr(direct, name), values), name


def test_the_memory_of_an_interval_grows_with_the_labels_not_with_their_pairs() -> None:
    rng = np.random.default_rng(0)
    label_ids, first_ids, second_ids = rng.integers(0, 150, size=(3, 1000))
    tracemalloc.start()
    try:
        bootstrap_difference(label_ids, first_ids, second_ids, num_labels=150, seed=0)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 64 << 20  # 1,000 resamples of 150 x 150 pairs take 180 MB

"""Measures equal those of scikit-learn, also on resampled rows, and intervals cover the truth."""

import math
from typing import Any

import numpy as np
import pytest
from hand_scored import LABELS, calibrated, graded, random_scored, scored_from
from sklearn import metrics

from sentiment_ray.evaluate.measures import make_all_measures, make_loss_measure
from sentiment_ray.evaluate.ranking import MAX_POINTS, compute_curves
from sentiment_ray.evaluate.scored_rows import ScoredRows
from sentiment_ray.metrics.classification import compute_measures, sum_by_label
from sentiment_ray.metrics.intervals import bootstrap, bootstrap_counts, wilson_interval


def _by_scikit_learn(scored: ScoredRows, rows: np.ndarray) -> dict[str, Any]:
    truth, answers = scored.label_ids[rows], scored.predicted_ids[rows]
    probabilities = scored.probabilities[rows]
    ids = range(len(scored.labels))
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(truth, answers, labels=ids, zero_division=0)
    roc_auc = [metrics.roc_auc_score(truth == index, probabilities[:, index]) for index in ids]
    average_precision = [metrics.average_precision_score(truth == index, probabilities[:, index]) for index in ids]
    return {
        "accuracy": metrics.accuracy_score(truth, answers),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "macro_precision": precision.mean(),
        "macro_recall": recall.mean(),
        "macro_f1": f1.mean(),
        "matthews": metrics.matthews_corrcoef(truth, answers),
        "quadratic_kappa": metrics.cohen_kappa_score(truth, answers, weights="quadratic"),
        "roc_auc": roc_auc,
        "macro_roc_auc": np.mean(roc_auc),
        "average_precision": average_precision,
        "macro_average_precision": np.mean(average_precision),
        "log_loss": metrics.log_loss(truth, probabilities),
        "brier": metrics.brier_score_loss(truth, probabilities, scale_by_half=False, labels=list(ids)),
    }


@pytest.mark.parametrize("labels", [LABELS, ("a", "b"), ("1", "2", "3", "4", "5")], ids=len)
@pytest.mark.parametrize("steps", [0, 2], ids=["distinct scores", "equal scores"])
def test_measures_equal_those_of_scikit_learn_for_all_rows_and_for_resamples(
    labels: tuple[str, ...], steps: int
) -> None:
    scored = random_scored(400, labels=labels, steps=steps)
    drawn = [np.arange(400), *np.random.default_rng(1).integers(0, 400, size=(3, 400))]
    weights = np.stack([np.bincount(rows, minlength=400) for rows in drawn]).astype(np.float64)
    measured = make_all_measures(scored, ordered=True)(weights)
    for resample, rows in enumerate(drawn):
        expected = _by_scikit_learn(scored, rows)
        assert set(measured) == {*expected, "ece"}
        for name, value in expected.items():
            assert np.allclose(measured[name][resample], value), name


def test_labels_without_rows_count_as_zero_and_have_no_curve() -> None:
    scored = scored_from(np.array([[2.0, 0.0, 1.0], [2.0, 0.0, 1.0], [0.0, 0.0, 1.0]]), np.array([0, 2, 2]))
    estimate = bootstrap(make_all_measures(scored, ordered=True), 3, seed=0)
    assert estimate["f1"] == pytest.approx([2 / 3, 0, 2 / 3])
    assert estimate["macro_f1"] == pytest.approx(4 / 9)
    assert estimate["roc_auc"] == [0.75, None, 0.75]
    assert estimate["macro_roc_auc"] == 0.75
    assert estimate["intervals"]["roc_auc"][1] == [None, None]
    assert list(compute_curves(scored)) == ["negative", "positive"]


def test_the_calibration_error_is_the_mean_gap_of_the_bins_weighted_by_rows() -> None:
    # 0.61 and 0.65 share the tenth of 15 bins, 0.95 lies in the last.
    scored = graded([True, False, True, True], [0.61, 0.65, 0.95, 0.95])
    gaps = (1 - 0.61) + (0 - 0.65), 2 * (1 - 0.95)
    assert make_loss_measure(scored)(np.ones((1, 4)))["ece"][0] == pytest.approx((abs(gaps[0]) + abs(gaps[1])) / 4)


def test_certain_scores_have_a_finite_log_loss() -> None:
    scored = scored_from(np.array([[2000.0, 0.0], [0.0, 2000.0]]), np.array([1, 1]), ("a", "b"))
    assert make_loss_measure(scored)(np.ones((1, 2)))["log_loss"][0] == pytest.approx(1000)


def test_intervals_cover_the_truth_about_nineteen_times_in_twenty() -> None:
    shares = np.array([[0.3, 0.05, 0.05], [0.05, 0.2, 0.05], [0.02, 0.08, 0.2]])
    rng = np.random.default_rng(0)

    def measure(cells: np.ndarray) -> dict[str, np.ndarray]:
        return compute_measures(sum_by_label(cells.reshape(-1, 3, 3)), ordered=True)

    truth = measure(shares)
    held = {"accuracy": 0, "macro_f1": 0, "matthews": 0, "quadratic_kappa": 0}
    for seed in range(200):
        estimate = bootstrap_counts(measure, rng.multinomial(300, shares.ravel()), seed=seed)
        for name in held:
            low, high = estimate["intervals"][name]
            assert low <= estimate[name] <= high
            held[name] += low <= truth[name][0] <= high
    assert all(180 <= hits <= 198 for hits in held.values()), held


def test_resampling_counts_gives_the_intervals_of_resampling_rows() -> None:
    scored = random_scored(500)
    by_row = bootstrap(make_all_measures(scored, ordered=True), 500, seed=0)["intervals"]
    by_count = bootstrap_counts(
        lambda cells: compute_measures(sum_by_label(cells.reshape(-1, 3, 3)), ordered=True),
        scored.counts.ravel(),
        seed=1,
    )["intervals"]
    for name, interval in by_count.items():
        assert np.allclose(by_row[name], interval, atol=0.015), name


def test_the_interval_of_the_calibration_error_contains_it() -> None:
    for seed in range(10):
        scored = calibrated(200, seed=seed)
        estimate = bootstrap(make_loss_measure(scored), 200, seed=seed)
        low, high = estimate["intervals"]["ece"]
        assert 0 <= low <= estimate["ece"] <= high


def test_the_same_seed_gives_the_same_numbers() -> None:
    scored = random_scored(100)
    measure = make_all_measures(scored, ordered=False)
    assert bootstrap(measure, 100, seed=3) == bootstrap(measure, 100, seed=3) != bootstrap(measure, 100, seed=4)


def test_a_share_of_all_rows_keeps_an_interval() -> None:
    low, high = wilson_interval(20, 20)
    assert 0.8 < low < 0.9
    assert high == 1


def test_curves_are_scikit_learns_thinned_with_both_ends() -> None:
    scored = random_scored(3000)
    drawn = compute_curves(scored)["positive"]
    false_positives, recall, _ = metrics.roc_curve(scored.label_ids == 2, scored.probabilities[:, 2])
    assert len(drawn["roc"]["true_positive_rate"]) == MAX_POINTS < len(recall)
    on_curve = set(zip(false_positives.round(6), recall.round(6), strict=True))
    assert set(zip(drawn["roc"]["false_positive_rate"], drawn["roc"]["true_positive_rate"], strict=True)) <= on_curve
    assert (drawn["roc"]["false_positive_rate"][0], drawn["roc"]["true_positive_rate"][-1]) == (0, 1)
    assert (drawn["precision_recall"]["recall"][0], drawn["precision_recall"]["recall"][-1]) == (0, 1)


def test_the_log_loss_of_equal_probabilities_is_the_logarithm_of_the_labels() -> None:
    scored = scored_from(np.zeros((3, 3)), np.array([0, 1, 2]))
    assert make_loss_measure(scored)(np.ones((1, 3)))["log_loss"][0] == pytest.approx(math.log(3))

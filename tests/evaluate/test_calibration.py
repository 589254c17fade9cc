"""Temperatures and thresholds are chosen on one half of the rows and measured on the other."""

import json

import numpy as np
import pytest
from hand_scored import calibrated, graded, random_scored

from sentiment_ray.evaluate.abstain import choose_thresholds, compute_risk_coverage, find_threshold
from sentiment_ray.evaluate.calibration import compute_reliability, estimate_chance_ece, measure_calibration
from sentiment_ray.evaluate.measures import make_loss_measure
from sentiment_ray.evaluate.scored_rows import split_in_half
from sentiment_ray.metrics.intervals import bootstrap
from sentiment_ray.metrics.temperature import fit_temperature


@pytest.mark.parametrize("times", [0.4, 1.0, 3.0])
def test_the_temperature_is_the_factor_of_the_logits(times: float) -> None:
    scored = calibrated(20_000, seed=0, times=times)
    assert fit_temperature(scored.logits, scored.label_ids) == pytest.approx(times, rel=0.03)


def test_scaling_improves_overconfident_scores_on_the_other_half() -> None:
    scored = calibrated(4000, seed=0, times=3)
    calibration = measure_calibration(scored, seed=5)
    fitted, measured = split_in_half(4000, seed=5)
    assert (calibration["rows_fitted"], calibration["rows_measured"], calibration["bins"]) == (2000, 2000, 15)
    assert sorted([*fitted, *measured]) == list(range(4000))
    assert calibration["temperature"] == fit_temperature(scored.logits[fitted], scored.label_ids[fitted])
    assert calibration["before"] == bootstrap(make_loss_measure(scored.take(measured)), 2000, seed=5)
    for name in ("ece", "log_loss", "brier"):
        assert calibration["after"]["intervals"][name][1] < calibration["before"]["intervals"][name][0]


def test_the_chance_ece_is_the_mean_ece_of_perfect_scores() -> None:
    errors = [make_loss_measure(calibrated(300, seed=seed))(np.ones((1, 300)))["ece"][0] for seed in range(50)]
    assert estimate_chance_ece(calibrated(300, seed=0), seed=0) == pytest.approx(np.mean(errors), rel=0.1)


def test_the_temperature_changes_no_label() -> None:
    scored = random_scored(200)
    assert np.array_equal(scored.at_temperature(4).probabilities.argmax(axis=1), scored.predicted_ids)


def test_few_rows_have_no_temperature_and_no_thresholds() -> None:
    scored = random_scored(39)
    assert measure_calibration(scored, seed=0) == {}
    assert choose_thresholds(scored, (0.9,), seed=0)["thresholds"] == []


def test_a_bin_has_its_rows_mean_score_and_accuracy() -> None:
    bins = compute_reliability(graded([True, False, True], [0.62, 0.64, 0.99]))
    assert bins == [
        {"rows": 2, "score": pytest.approx(0.63), "accuracy": 0.5},
        {"rows": 1, "score": pytest.approx(0.99), "accuracy": 1.0},
    ]


def test_rows_with_one_score_are_one_point_of_the_curve() -> None:
    coverage, risk, scores = compute_risk_coverage(graded([False, True, True, False], [0.7, 0.9, 0.8, 0.8]))
    assert coverage.tolist() == [0.25, 0.75, 1]
    assert risk.tolist() == pytest.approx([0, 1 / 3, 0.5])
    assert scores.tolist() == pytest.approx([0.9, 0.8, 0.7])


def test_a_threshold_is_the_lowest_score_with_the_wanted_precision() -> None:
    scores = [0.99 - row / 1000 for row in range(100)]
    scored = graded([row not in (40, 41, 60) for row in range(100)], scores)
    assert find_threshold(scored, 1.0) == pytest.approx(scores[39])
    assert find_threshold(scored, 0.97) == pytest.approx(scores[99])
    assert find_threshold(scored, 0.98) is None or find_threshold(scored, 0.98) == pytest.approx(scores[39])


def test_a_precision_that_twenty_rows_do_not_reach_has_no_threshold() -> None:
    scored = graded([row != 10 for row in range(30)], [0.99 - row / 1000 for row in range(30)])
    assert find_threshold(scored, 0.99) is None


def test_thresholds_are_measured_on_the_other_half() -> None:
    scored = random_scored(2000)
    result = choose_thresholds(scored, (0.8, 0.9, 1.0), seed=0)
    first, other = (scored.take(half) for half in split_in_half(2000, seed=0))
    for row in result["thresholds"][:2]:
        assert row["threshold"] == find_threshold(first, row["wanted"])
        answered = other.score >= row["threshold"]
        assert row["coverage"] == answered.mean()
        assert row["precision"] == other.correct[answered].mean()
        assert row["interval"][0] < row["precision"] < row["interval"][1]
    assert result["thresholds"][0]["coverage"] > result["thresholds"][1]["coverage"]
    json.dumps(result, allow_nan=False)

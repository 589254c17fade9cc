"""Temperatures and thresholds are found on one half of the rows and reported on the other."""

import json

import numpy as np
import pytest
from hand_scored import calibrated, graded, random_scored

from sentiment_ray.evaluate.abstain import abstention_of, risk_coverage, threshold_for
from sentiment_ray.evaluate.calibration import calibration_of, ece_by_chance, reliability
from sentiment_ray.evaluate.measures import losses
from sentiment_ray.evaluate.scored import halves
from sentiment_ray.metrics.intervals import bootstrap
from sentiment_ray.metrics.temperature import fit_temperature


@pytest.mark.parametrize("times", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_what_was_done_to_the_logits(times: float) -> None:
    scored = calibrated(20_000, seed=0, times=times)
    assert fit_temperature(scored.logits, scored.label_ids) == pytest.approx(times, rel=0.03)


def test_scaling_mends_overconfident_scores_on_rows_that_it_has_not_seen() -> None:
    scored = calibrated(4000, seed=0, times=3)
    found = calibration_of(scored, seed=5)
    fitted, measured = halves(4000, seed=5)
    assert (found["rows_fitted"], found["rows_measured"], found["bins"]) == (2000, 2000, 15)
    assert sorted([*fitted, *measured]) == list(range(4000))
    assert found["temperature"] == fit_temperature(scored.logits[fitted], scored.label_ids[fitted])
    assert found["before"] == bootstrap(losses(scored.take(measured)), 2000, seed=5)
    for name in ("ece", "log_loss", "brier"):
        assert found["after"]["intervals"][name][1] < found["before"]["intervals"][name][0]


def test_perfect_scores_have_the_error_that_chance_gives_them() -> None:
    errors = [losses(calibrated(300, seed=seed))(np.ones((1, 300)))["ece"][0] for seed in range(50)]
    assert ece_by_chance(calibrated(300, seed=0), seed=0) == pytest.approx(np.mean(errors), rel=0.1)


def test_the_temperature_changes_no_label() -> None:
    scored = random_scored(200)
    assert np.array_equal(scored.at_temperature(4).probabilities.argmax(axis=1), scored.predicted_ids)


def test_few_rows_have_no_temperature_and_no_thresholds() -> None:
    scored = random_scored(39)
    assert calibration_of(scored, seed=0) == {}
    assert abstention_of(scored, (0.9,), seed=0)["thresholds"] == []


def test_a_bin_has_its_rows_mean_score_and_accuracy() -> None:
    bins = reliability(graded([True, False, True], [0.62, 0.64, 0.99]))
    assert bins == [
        {"rows": 2, "score": pytest.approx(0.63), "accuracy": 0.5},
        {"rows": 1, "score": pytest.approx(0.99), "accuracy": 1.0},
    ]


def test_risk_counts_rows_of_one_score_together() -> None:
    coverage, risk, scores = risk_coverage(graded([False, True, True, False], [0.7, 0.9, 0.8, 0.8]))
    assert coverage.tolist() == [0.25, 0.75, 1]
    assert risk.tolist() == pytest.approx([0, 1 / 3, 0.5])
    assert scores.tolist() == pytest.approx([0.9, 0.8, 0.7])


def test_a_threshold_is_the_lowest_score_with_the_wanted_precision() -> None:
    scores = [0.99 - place / 1000 for place in range(100)]
    scored = graded([place not in (40, 41, 60) for place in range(100)], scores)
    assert threshold_for(scored, 1.0) == pytest.approx(scores[39])
    assert threshold_for(scored, 0.97) == pytest.approx(scores[99])
    assert threshold_for(scored, 0.98) is None or threshold_for(scored, 0.98) == pytest.approx(scores[39])


def test_a_precision_that_twenty_rows_do_not_reach_has_no_threshold() -> None:
    scored = graded([place != 10 for place in range(30)], [0.99 - place / 1000 for place in range(30)])
    assert threshold_for(scored, 0.99) is None


def test_thresholds_are_measured_on_the_other_half() -> None:
    scored = random_scored(2000)
    found = abstention_of(scored, (0.8, 0.9, 1.0), seed=0)
    chosen_by, other = (scored.take(half) for half in halves(2000, seed=0))
    for row in found["thresholds"][:2]:
        assert row["threshold"] == threshold_for(chosen_by, row["wanted"])
        answered = other.score >= row["threshold"]
        assert row["coverage"] == answered.mean()
        assert row["precision"] == other.correct[answered].mean()
        assert row["interval"][0] < row["precision"] < row["interval"][1]
    assert found["thresholds"][0]["coverage"] > found["thresholds"][1]["coverage"]
    json.dumps(found, allow_nan=False)

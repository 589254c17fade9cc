"""Chooses thresholds on the score below which a person should decide; measures risk against coverage."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.evaluate.calibration import MIN_HALF_ROWS
from sentiment_ray.evaluate.ranking import thin_out
from sentiment_ray.evaluate.scored_rows import ScoredRows, split_in_half
from sentiment_ray.metrics.intervals import wilson_interval


def choose_thresholds(scored: ScoredRows, precisions: Sequence[float], *, seed: int) -> dict[str, Any]:
    """Return a threshold for each wanted precision, with its coverage and precision, and the risk-coverage curve.

    A threshold is the lowest score at or above which a random half of the rows is right as often as wanted. Its
    coverage and precision are measured on the other half. It is None where fewer than 20 rows of the first half reach
    the precision. The curve is that of all rows (El-Yaniv and Wiener, "On the Foundations of Noise-free
    Selective Classification", 2010, https://jmlr.org/papers/v11/el-yaniv10a.html).
    """
    first_half, second_half = (scored.take(half) for half in split_in_half(scored.num_rows, seed=seed))
    coverage, risk, _ = compute_risk_coverage(scored)
    result = {"risk_coverage": {"coverage": thin_out(coverage), "risk": thin_out(risk)}}
    if first_half.num_rows < MIN_HALF_ROWS:
        return result | {"thresholds": [], "rows_fitted": 0, "rows_measured": 0}
    return result | {
        "thresholds": [
            {"wanted": wanted} | _measure_threshold(second_half, find_threshold(first_half, wanted))
            for wanted in precisions
        ],
        "rows_fitted": first_half.num_rows,
        "rows_measured": second_half.num_rows,
    }


def compute_risk_coverage(
    scored: ScoredRows,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return for each score, from the highest down: the share of rows at or above it, their error rate, the score."""
    order = np.argsort(-scored.score, kind="stable")
    scores = scored.score[order]
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    answered = ends + 1
    wrong = np.cumsum(~scored.correct[order])[ends]
    return answered / len(scores), wrong / answered, scores[ends]


def find_threshold(scored: ScoredRows, wanted: float) -> float | None:
    """Return the lowest score at or above which at least 20 rows are right as often as wanted, or None."""
    coverage, risk, scores = compute_risk_coverage(scored)
    enough = coverage * scored.num_rows >= MIN_HALF_ROWS - 0.5
    good = np.flatnonzero((1 - risk >= wanted - 1e-12) & enough)
    return float(scores[good[-1]]) if len(good) else None


def _measure_threshold(scored: ScoredRows, threshold: float | None) -> dict[str, Any]:
    no_rows: dict[str, Any] = {"threshold": threshold, "rows": 0, "coverage": 0.0, "precision": None, "interval": None}
    if threshold is None:
        return no_rows
    answered = scored.score >= threshold
    rows, right = int(answered.sum()), int((answered & scored.correct).sum())
    if not rows:
        return no_rows
    return {
        "threshold": threshold,
        "rows": rows,
        "coverage": rows / scored.num_rows,
        "precision": right / rows,
        "interval": wilson_interval(right, rows),
    }

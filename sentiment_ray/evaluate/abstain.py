"""What leaving the unsure rows to a person gains: thresholds on the score, and risk against coverage."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.evaluate.calibration import MIN_HALF_ROWS
from sentiment_ray.evaluate.ranking import thinned
from sentiment_ray.evaluate.scored import Scored, halves
from sentiment_ray.metrics.intervals import wilson_interval


def abstention_of(scored: Scored, precisions: Sequence[float], *, seed: int) -> dict[str, Any]:
    """Return a threshold for each wanted precision, with its coverage and precision, and the risk-coverage curve.

    A threshold is the lowest score of a random half of the rows from which on that half is right as often as wanted;
    what it covers and how often that is right is measured on the other half. It is None where no 20 rows of the half
    reach the precision. The curve is that of all rows (El-Yaniv and Wiener, "On the Foundations of Noise-free
    Selective Classification", 2010, https://jmlr.org/papers/v11/el-yaniv10a.html).
    """
    chosen_by, held_out = (scored.take(half) for half in halves(scored.num_rows, seed=seed))
    coverage, risk, _ = risk_coverage(scored)
    found = {"risk_coverage": {"coverage": thinned(coverage), "risk": thinned(risk)}}
    if chosen_by.num_rows < MIN_HALF_ROWS:
        return found | {"thresholds": [], "rows_fitted": 0, "rows_measured": 0}
    return found | {
        "thresholds": [
            {"wanted": wanted} | _reached(held_out, threshold_for(chosen_by, wanted)) for wanted in precisions
        ],
        "rows_fitted": chosen_by.num_rows,
        "rows_measured": held_out.num_rows,
    }


def risk_coverage(
    scored: Scored,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return for each score that occurs, from the highest down: share of rows at or above, their errors, the score."""
    order = np.argsort(-scored.score, kind="stable")
    scores = scored.score[order]
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    answered = ends + 1
    wrong = np.cumsum(~scored.correct[order])[ends]
    return answered / len(scores), wrong / answered, scores[ends]


def threshold_for(scored: Scored, wanted: float) -> float | None:
    """Return the lowest score from which on at least 20 rows are right as often as wanted; None if there is none."""
    coverage, risk, scores = risk_coverage(scored)
    enough = coverage * scored.num_rows >= MIN_HALF_ROWS - 0.5
    good = np.flatnonzero((1 - risk >= wanted - 1e-12) & enough)
    return float(scores[good[-1]]) if len(good) else None


def _reached(scored: Scored, threshold: float | None) -> dict[str, Any]:
    nothing: dict[str, Any] = {"threshold": threshold, "rows": 0, "coverage": 0.0, "precision": None, "interval": None}
    if threshold is None:
        return nothing
    answered = scored.score >= threshold
    rows, right = int(answered.sum()), int((answered & scored.correct).sum())
    if not rows:
        return nothing
    return {
        "threshold": threshold,
        "rows": rows,
        "coverage": rows / scored.num_rows,
        "precision": right / rows,
        "interval": wilson_interval(right, rows),
    }

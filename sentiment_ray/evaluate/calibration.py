"""Measures whether a score of 0.9 is right in 90 % of the rows, before and after temperature scaling."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.evaluate.measures import ECE_BINS, assign_bins, make_loss_measure
from sentiment_ray.evaluate.scored_rows import ScoredRows, split_in_half
from sentiment_ray.metrics.intervals import bootstrap
from sentiment_ray.metrics.temperature import fit_temperature

MIN_HALF_ROWS = 20
"""Rows that a half needs before anything is fitted to it or measured on it."""
NUM_DRAWS = 200


def measure_calibration(scored: ScoredRows, *, seed: int) -> dict[str, Any]:
    """Return the temperature, and log loss, Brier and ECE before and after scaling by it, with intervals.

    The temperature is fitted to a random half of the rows and measured on the other half; on its own half it would look
    better than it is. `ece_by_chance` is the ECE of perfect scores on as many rows. The result is empty when a half
    has fewer than 20 rows.
    """
    fitted, held_out = split_in_half(scored.num_rows, seed=seed)
    if len(fitted) < MIN_HALF_ROWS:
        return {}
    half = scored.take(fitted)
    temperature = fit_temperature(half.logits, half.label_ids)
    before = scored.take(held_out)
    sides = {"before": before, "after": before.at_temperature(temperature)}
    return {
        "bins": ECE_BINS,
        "temperature": temperature,
        "rows_fitted": len(fitted),
        "rows_measured": len(held_out),
        **{name: bootstrap(make_loss_measure(side), side.num_rows, seed=seed) for name, side in sides.items()},
        "ece_by_chance": {name: estimate_chance_ece(side, seed=seed) for name, side in sides.items()},
        "reliability": {name: compute_reliability(side) for name, side in sides.items()},
    }


def estimate_chance_ece(scored: ScoredRows, *, seed: int) -> float:
    """Return the calibration error (ECE) to expect of perfect scores: on few rows it is far from 0.

    It is the mean of 200 draws in which each row is right with a probability equal to its score (Bröcker and Smith,
    "Increasing the Reliability of Reliability Diagrams", 2007, https://doi.org/10.1175/WAF993.1).
    """
    rng = np.random.default_rng(seed)
    bins, score = assign_bins(scored.score), scored.score
    errors = []
    for _ in range(NUM_DRAWS):
        gaps = (rng.random(scored.num_rows) < score) - score
        errors.append(np.abs(np.bincount(bins, weights=gaps, minlength=ECE_BINS)).sum() / scored.num_rows)
    return float(np.mean(errors))


def compute_reliability(scored: ScoredRows) -> list[dict[str, Any]]:
    """Return rows, mean score and accuracy of each bin of the score that has rows, from the lowest score up."""
    bins = assign_bins(scored.score)
    rows = np.bincount(bins, minlength=ECE_BINS)
    score, accuracy = (_compute_means(bins, values, rows) for values in (scored.score, scored.correct))
    return [
        {"rows": int(rows[index]), "score": float(score[index]), "accuracy": float(accuracy[index])}
        for index in np.flatnonzero(rows)
    ]


def _compute_means(
    bins: NDArray[np.int64], values: NDArray[np.float64] | NDArray[np.bool_], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    return np.bincount(bins, weights=values, minlength=ECE_BINS) / np.maximum(rows, 1)

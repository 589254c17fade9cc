"""Whether a score of 0.9 is right nine times in ten, as the bundle is and after temperature scaling."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.evaluate.measures import ECE_BINS, bins_of, losses
from sentiment_ray.evaluate.scored import Scored, halves
from sentiment_ray.metrics.intervals import bootstrap
from sentiment_ray.metrics.temperature import fit_temperature

MIN_HALF_ROWS = 20
"""Rows that a half needs for anything to be chosen by it, or measured on it."""
NUM_DRAWS = 200


def calibration_of(scored: Scored, *, seed: int) -> dict[str, Any]:
    """Return the temperature and what it does: log loss, Brier and ECE before and after it, with intervals.

    The temperature is fitted to a random half of the rows and measured on the other, for on its own half it would look
    better than it is. `ece_by_chance` is what perfect scores would have on as many rows. Nothing is returned when a
    half has under 20 rows.
    """
    fitted, held_out = halves(scored.num_rows, seed=seed)
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
        **{name: bootstrap(losses(side), side.num_rows, seed=seed) for name, side in sides.items()},
        "ece_by_chance": {name: ece_by_chance(side, seed=seed) for name, side in sides.items()},
        "reliability": {name: reliability(side) for name, side in sides.items()},
    }


def ece_by_chance(scored: Scored, *, seed: int) -> float:
    """Return the calibration error to expect of scores that are perfect: on few rows it is far from 0.

    It is the mean of 200 draws in which each row is right with the probability that its score says (Bröcker and Smith,
    "Increasing the Reliability of Reliability Diagrams", 2007, https://doi.org/10.1175/WAF993.1).
    """
    rng = np.random.default_rng(seed)
    places, score = bins_of(scored.score), scored.score
    errors = []
    for _ in range(NUM_DRAWS):
        gaps = (rng.random(scored.num_rows) < score) - score
        errors.append(np.abs(np.bincount(places, weights=gaps, minlength=ECE_BINS)).sum() / scored.num_rows)
    return float(np.mean(errors))


def reliability(scored: Scored) -> list[dict[str, Any]]:
    """Return rows, mean score and accuracy of each bin of the score that has rows, from the lowest up."""
    places = bins_of(scored.score)
    rows = np.bincount(places, minlength=ECE_BINS)
    score, accuracy = (_means(places, values, rows) for values in (scored.score, scored.correct))
    return [
        {"rows": int(rows[place]), "score": float(score[place]), "accuracy": float(accuracy[place])}
        for place in np.flatnonzero(rows)
    ]


def _means(
    places: NDArray[np.int64], values: NDArray[np.float64] | NDArray[np.bool_], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    return np.bincount(places, weights=values, minlength=ECE_BINS) / np.maximum(rows, 1)

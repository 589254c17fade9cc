"""Compares two bundles on the same rows: how they differ, and whether one is worse than allowed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from sentiment_ray.evaluate.scored_rows import ScoredRows
from sentiment_ray.metrics.classification import Measures, compute_measures
from sentiment_ray.metrics.intervals import (
    COMPARED,
    Measure,
    bootstrap,
    bootstrap_difference,
    make_label_counter,
    wilson_interval,
)


def compare_bundles(scored: ScoredRows, other: ScoredRows, *, max_macro_f1_drop: float, seed: int) -> dict[str, Any]:
    """Return how a bundle differs from the other one, both scored on the same rows.

    `pairs` counts the rows that both, one, or neither of them got right. `differences` are the measures of this bundle
    minus those of the other, with paired intervals. `passed` says that no more macro-F1 was lost than allowed, and
    `certain` that the whole interval says so: with few rows a larger loss may be possible.
    `mcnemar_p` is the probability that, for two equally good bundles, the rows that only one got right are split at
    least as unevenly (McNemar, "Note on the sampling error of the difference between correlated proportions", 1947,
    https://doi.org/10.1007/BF02295996; here the exact form).
    """
    same = scored.predicted_ids == other.predicted_ids
    only_this = int((scored.correct & ~other.correct).sum())
    only_other = int((other.correct & ~scored.correct).sum())
    differences = bootstrap_difference(
        scored.label_ids, scored.predicted_ids, other.predicted_ids, num_labels=len(scored.labels), seed=seed
    )
    allowed = -max_macro_f1_drop - 1e-12
    return {
        "metrics": bootstrap(_make_compared_measure(other), other.num_rows, seed=seed),
        "agreement": float(same.mean()),
        "agreement_interval": wilson_interval(int(same.sum()), scored.num_rows),
        "flips": int((~same).sum()),
        "pairs": {
            "both_right": int((scored.correct & other.correct).sum()),
            "only_this_right": only_this,
            "only_other_right": only_other,
            "both_wrong": int((~scored.correct & ~other.correct).sum()),
        },
        "mcnemar_p": compute_mcnemar_p(only_this, only_other),
        "differences": differences,
        "max_macro_f1_drop": max_macro_f1_drop,
        "passed": differences["macro_f1"] >= allowed,
        "certain": differences["intervals"]["macro_f1"][0] >= allowed,
    }


def compute_mcnemar_p(only_one: int, only_other: int) -> float:
    """Return the two-sided exact p-value for the rows that only one of two bundles got right; 1 if there are none."""
    num_differing = only_one + only_other
    return float(binomtest(only_one, num_differing, 0.5).pvalue) if num_differing else 1.0


def _make_compared_measure(scored: ScoredRows) -> Measure:
    count = make_label_counter(scored.label_ids, scored.predicted_ids, len(scored.labels))

    def measure(weights: NDArray[np.float64]) -> Measures:
        measures = compute_measures(count(weights))
        return {name: measures[name] for name in COMPARED}

    return measure

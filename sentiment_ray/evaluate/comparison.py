"""Two bundles on the same rows: where they differ, whether that is chance, and whether one is worse than allowed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from sentiment_ray.evaluate.scored import Scored
from sentiment_ray.metrics.classification import Measures, compute_measures
from sentiment_ray.metrics.intervals import (
    COMPARED,
    Measure,
    bootstrap,
    bootstrap_difference,
    confusion_counter,
    wilson_interval,
)


def comparison_of(scored: Scored, other: Scored, *, max_macro_f1_drop: float, seed: int) -> dict[str, Any]:
    """Return what changes when a bundle takes the place of the other one, both scored on the same rows.

    `pairs` counts the rows that both, one, or none of them got right. `mcnemar_p` is the chance that the
    rows which one alone got right are split at least as unevenly when both are equally good (McNemar, "Note on the
    sampling error of the difference between correlated proportions", 1947, https://doi.org/10.1007/BF02295996; here
    in the exact form). `differences` are this one's measures minus the other's, and their intervals
    come from resampling the same rows for both. `passed` says that no more macro-F1 was lost than allowed.
    """
    same = scored.predicted_ids == other.predicted_ids
    only_this = int((scored.correct & ~other.correct).sum())
    only_other = int((other.correct & ~scored.correct).sum())
    differences = bootstrap_difference(
        scored.label_ids, scored.predicted_ids, other.predicted_ids, num_labels=len(scored.labels), seed=seed
    )
    return {
        "metrics": bootstrap(_compared(other), other.num_rows, seed=seed),
        "agreement": float(same.mean()),
        "agreement_interval": wilson_interval(int(same.sum()), scored.num_rows),
        "flips": int((~same).sum()),
        "pairs": {
            "both_right": int((scored.correct & other.correct).sum()),
            "only_this_right": only_this,
            "only_other_right": only_other,
            "both_wrong": int((~scored.correct & ~other.correct).sum()),
        },
        "mcnemar_p": mcnemar_p(only_this, only_other),
        "differences": differences,
        "max_macro_f1_drop": max_macro_f1_drop,
        "passed": differences["macro_f1"] >= -max_macro_f1_drop - 1e-12,
    }


def mcnemar_p(only_one: int, only_other: int) -> float:
    """Return the two-sided exact p-value for rows that one alone got right; 1 where there are none."""
    num_differing = only_one + only_other
    return float(binomtest(only_one, num_differing, 0.5).pvalue) if num_differing else 1.0


def _compared(scored: Scored) -> Measure:
    count = confusion_counter(scored.label_ids, scored.predicted_ids, len(scored.labels))

    def measure(weights: NDArray[np.float64]) -> Measures:
        measures = compute_measures(count(weights))
        return {name: measures[name] for name in COMPARED}

    return measure

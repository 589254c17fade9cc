"""Judges the figures of a gate by the bounds of [export]. Knows no files and no engines.

The reviews of a gate are a sample, so a figure of theirs is judged by the end of its 95 % interval that speaks against
the file: the lower end of the label agreement (Wilson), and the upper ends of the loss of macro-F1 and of the mean
difference (bootstrap; in each resample torch and the file answer the same rows). Most rows do not change, so these
intervals are narrow, but not on few rows: an interval is always some rows wide. At that end, a bound on labels
therefore allows at least MIN_ALLOWED_ROWS changed rows, and where this is more than the bound says, the gate lists the
figure as not measured. A file whose whole interval is beyond a bound misses it on any number of rows. A file that
changes no label never misses the agreement.

Where a label has fewer than MIN_LABEL_ROWS rows, one row moves macro-F1 by more than its bound. Then only a loss whose
whole interval is beyond the bound is a miss. The suite and the batches are no samples: their figures are judged as they
are.
"""

import math
from collections.abc import Sequence
from typing import Any

from export.config import ExportConfig

MIN_ALLOWED_ROWS = 10
"""Changed rows that bounds on labels allow at the far end of an interval.

A file that changes 0.3 % of the labels then passes the default bounds nearly always, on any number of rows; one that
changes 3 % nearly never from 300 rows on.
"""
MIN_LABEL_ROWS = 10
"""Fewest reviews of a label from which its F1 is worth a word."""


def list_missed_bounds(gate: dict[str, Any], config: ExportConfig) -> list[str]:
    """Return one line for each bound of the configuration that a comparison missed.

    The bounds that `not_judged` names are those that the reviews or the suite cannot judge for this model.
    """
    batches = gate["batches"]
    missed = {
        "min_agreement": _exceeds(_get_change_interval(gate), 1 - config.min_agreement, gate["rows"]),
        "max_macro_f1_drop": _exceeds(
            gate["macro_f1_drop_interval"],
            config.max_macro_f1_drop,
            gate["rows"],
            is_judged="max_macro_f1_drop" not in gate["not_judged"],
        ),
        "max_mean_difference": _exceeds(gate["mean_probability_difference_interval"], config.max_mean_difference),
    }
    figures = {
        "min_agreement": _format_figure(gate, "label_agreement"),
        "max_macro_f1_drop": _format_figure(gate, "macro_f1_drop"),
        "max_mean_difference": _format_figure(gate, "mean_probability_difference"),
    }
    exact = {
        "max_suite_drop": gate["suite_drop"] if "max_suite_drop" not in gate["not_judged"] else 0.0,
        "max_batch_flips": batches["flips_alone"],
        "max_batch_difference": max(batches["max_difference_alone"], batches["max_difference_padded"]),
    }
    for bound, value in exact.items():
        missed[bound] = not value <= getattr(config, bound)  # a NaN is a miss
        figures[bound] = f"{value:.4g}"
    return [f"{bound} = {getattr(config, bound):g}, found {figures[bound]}" for bound in missed if missed[bound]]


def describe_few_rows(num_rows: int, config: ExportConfig) -> str | None:
    """Return a line that names the bounds on labels for which there are too few rows, or None."""
    allowed = {"min_agreement": 1 - config.min_agreement, "max_macro_f1_drop": config.max_macro_f1_drop}
    needed = {bound: math.ceil(round(MIN_ALLOWED_ROWS / share, 6)) for bound, share in allowed.items() if share > 0}
    few = [
        f"{bound} = {getattr(config, bound):g} needs {count:,}" for bound, count in needed.items() if num_rows < count
    ]
    return f"the files on other reviews: {num_rows:,} rows were compared, {' and '.join(few)}" if few else None


def _get_change_interval(gate: dict[str, Any]) -> tuple[float, float]:
    """Return the interval of the share of rows that get another label."""
    low, high = gate["label_agreement_interval"]
    return (1 - high, 1 - low) if gate["label_agreement"] < 1 else (0.0, 0.0)


def _exceeds(
    interval: Sequence[float | None], allowed: float, num_rows: int | None = None, *, is_judged: bool = True
) -> bool:
    """Whether an interval is beyond what is allowed: its far end, or, of what is not judged, all of it.

    With `num_rows`, the interval is of a share of so many rows.
    """
    low, high = interval
    if low is None or high is None:  # some answers are not numbers
        return True
    at_far_end = max(allowed, MIN_ALLOWED_ROWS / num_rows) if num_rows else allowed
    return low > allowed or (is_judged and high > at_far_end)


def _format_figure(gate: dict[str, Any], figure: str) -> str:
    """Return a figure of the reviews and its interval."""
    low, high = gate[f"{figure}_interval"]
    if low is None or high is None:
        return f"{gate[figure]:.4g}"
    return f"{gate[figure]:.4g} ({low:.4g} to {high:.4g} on {gate['rows']:,} rows)"

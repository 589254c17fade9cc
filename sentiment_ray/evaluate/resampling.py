"""How far a measure would move with other rows of the same kind; knows weights of rows, not what is measured."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

NUM_RESAMPLES = 1000
ENDS = (2.5, 97.5)
"""Percentiles of the resamples between which a measure is said to lie: 95 % of them."""
WEIGHTS_AT_ONCE = 1 << 20
"""Weights in memory at a time (8 MiB): few enough for the cache's sake, whatever the number of rows."""

BIASED = ("ece",)
"""Measures, never below 0, that resampling pushes up, for the noise that it adds cannot cancel in them."""

Measures = dict[str, NDArray[np.float64]]
Measure = Callable[[NDArray[np.float64]], Measures]
"""Takes float64 `(resamples, rows)`, how often each row counts, and returns arrays `(resamples, ...)` by name."""


def bootstrap(measure: Measure, num_rows: int, *, seed: int) -> dict[str, Any]:
    """Return the measures of all rows and, as `intervals` under the same names, their 95 % intervals, as JSON.

    Rows are drawn with replacement 1,000 times; an interval has the percentiles of what the resamples give (Efron,
    "Bootstrap Methods: Another Look at the Jackknife", 1979, https://doi.org/10.1214/aos/1176344552). None stands
    where there is nothing to measure, as for the area under the curve of a label without rows. The interval of the
    calibration error, which grows with the noise that a resample adds, is reflected about the value (the basic interval
    of Davison and Hinkley, "Bootstrap Methods and their Application", 1997): the percentiles may both lie above it.
    """
    rng = np.random.default_rng(seed)
    at_once = max(1, WEIGHTS_AT_ONCE // num_rows)
    sizes = [min(at_once, NUM_RESAMPLES - start) for start in range(0, NUM_RESAMPLES, at_once)]
    parts = [measure(_weights(rng, size, num_rows)) for size in sizes]
    drawn = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return _estimates(measure(np.ones((1, num_rows))), drawn)


def bootstrap_counts(measure: Measure, counts: NDArray[np.int64], *, seed: int) -> dict[str, Any]:
    """Return what `bootstrap` does for a measure of counts `(resamples, cells)` alone, as those of a confusion matrix.

    To draw rows is to draw the counts of their cells, so it costs the same whatever the number of rows.
    """
    total = int(counts.sum())
    drawn = np.random.default_rng(seed).multinomial(total, counts / total, NUM_RESAMPLES)
    return _estimates(measure(counts[None].astype(np.float64)), measure(drawn.astype(np.float64)))


def share_interval(num_hits: int, num_rows: int) -> list[float]:
    """Return Wilson's 95 % interval of a share of rows, which keeps its width where none or all of them are hits.

    (Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927,
    https://doi.org/10.1080/01621459.1927.10502953.)
    """
    interval = binomtest(num_hits, num_rows).proportion_ci(0.95, method="wilson")
    return [float(interval.low), float(interval.high)]


def plain(value: Any) -> Any:
    """Return an array or number as JSON holds it: lists and finite numbers, None for what is not finite."""
    if isinstance(value, np.ndarray) and value.ndim:
        return [plain(part) for part in value]
    return float(value) if np.isfinite(value) else None


def _estimates(whole: Measures, drawn: Measures) -> dict[str, Any]:
    values = {name: plain(value[0]) for name, value in whole.items()}
    ends = {name: _ends(samples) for name, samples in drawn.items()}
    for name in BIASED:
        if name in ends:
            value = whole[name][0]
            ends[name] = np.array([max(2 * value - ends[name][1], 0), max(2 * value - ends[name][0], value)])
    return values | {"intervals": {name: plain(pair) for name, pair in ends.items()}}


def _ends(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ends `(..., 2)` of the middle of samples `(resamples, ...)`, of those that are finite."""
    finite = np.isfinite(samples)
    never = ~finite.any(axis=0)
    ends = np.nanpercentile(np.where(never, 0.0, np.where(finite, samples, np.nan)), ENDS, axis=0)
    return np.moveaxis(np.where(never, np.nan, ends), 0, -1)


def _weights(rng: np.random.Generator, num_resamples: int, num_rows: int) -> NDArray[np.float64]:
    """Return float64 `(resamples, rows)`: how often each row was drawn in each resample."""
    drawn = rng.integers(0, num_rows, size=(num_resamples, num_rows))
    drawn += np.arange(num_resamples)[:, None] * num_rows
    counts = np.bincount(drawn.ravel(), minlength=num_resamples * num_rows)
    return counts.reshape(num_resamples, num_rows).astype(np.float64)

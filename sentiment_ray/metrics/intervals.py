"""How far a measure would move with other rows of the same kind: bootstrap, paired bootstrap and Wilson intervals."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import binomtest

from sentiment_ray.metrics.classification import LabelCounts, Measures, compute_measures

NUM_RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)
"""Percentiles of the resamples that bound an interval: 95 % of them lie between."""
MAX_WEIGHTS = 1 << 20
"""Weights in memory at a time (8 MiB): few enough for the processor's cache with any number of rows."""
COMPARED = ("accuracy", "macro_f1")
"""Measures that two classifiers are compared by."""
BIASED = ("ece",)
"""Measures, never below 0, that resampling pushes up, because the noise that it adds cannot cancel in them."""

Measure = Callable[[NDArray[np.float64]], Measures]
"""Takes float64 weights `(resamples, rows)`, how often each row counts, and returns the measures of each resample."""


def bootstrap(measure: Measure, num_rows: int, *, seed: int) -> dict[str, Any]:
    """Return the measures of all rows and, as `intervals` under the same names, their 95 % intervals, as JSON.

    Rows are drawn with replacement 1,000 times, and percentiles of the resamples bound each interval (Efron,
    "Bootstrap Methods: Another Look at the Jackknife", 1979, https://doi.org/10.1214/aos/1176344552). A measure that
    is not defined, such as the area under the curve of a label without rows, is None.

    The calibration error grows with the noise that resampling adds, so that both percentiles may lie above its value.
    Its interval is therefore reflected about the value (the basic interval of Davison and Hinkley, "Bootstrap Methods
    and their Application", 1997).
    """
    rng = np.random.default_rng(seed)
    return _bootstrap(measure, np.ones(num_rows), lambda num_resamples: _draw_rows(rng, num_resamples, num_rows))


def bootstrap_counts(measure: Measure, counts: NDArray[np.int64], *, seed: int) -> dict[str, Any]:
    """Return the same as `bootstrap` from the number of rows in each cell; the weights of `measure` are those of cells.

    Rows in one cell are alike. To resample rows is to draw these counts from a multinomial distribution, which costs
    the same for any number of rows.
    """
    rng, total = np.random.default_rng(seed), int(counts.sum())
    return _bootstrap(
        measure,
        counts.astype(np.float64),
        lambda num_resamples: rng.multinomial(total, counts / total, num_resamples).astype(np.float64),
    )


def bootstrap_difference(
    label_ids: NDArray[np.int64],
    first_ids: NDArray[np.int64],
    second_ids: NDArray[np.int64],
    *,
    num_labels: int,
    seed: int,
) -> dict[str, Any]:
    """Return accuracy and macro-F1 of the first predictions minus those of the second, with paired 95 % intervals.

    Every resample holds the same rows for both. Rows with the same label and the same two predictions are alike, so
    `bootstrap_counts` draws the counts of these triples.
    """
    triples, counts = np.unique(np.stack([label_ids, first_ids, second_ids]), axis=1, return_counts=True)
    count_first = make_label_counter(triples[0], triples[1], num_labels)
    count_second = make_label_counter(triples[0], triples[2], num_labels)

    def measure(weights: NDArray[np.float64]) -> Measures:
        first, second = compute_measures(count_first(weights)), compute_measures(count_second(weights))
        return {name: first[name] - second[name] for name in COMPARED}

    return bootstrap_counts(measure, counts, seed=seed)


def make_label_counter(
    label_ids: NDArray[np.int64], predicted_ids: NDArray[np.int64], num_labels: int
) -> Callable[[NDArray[np.float64]], LabelCounts]:
    """Return a function from weights `(resamples, rows)` to the counts of each label.

    It makes no table of pairs of labels: of 1,000 labels and 1,000 resamples that would take 8 GB.
    """
    hits = one_value_a_row(label_ids, num_labels, (label_ids == predicted_ids).astype(np.float64))
    labelled, predicted = one_value_a_row(label_ids, num_labels), one_value_a_row(predicted_ids, num_labels)
    squared_distance = ((label_ids - predicted_ids) ** 2).astype(np.float64)
    return lambda weights: LabelCounts(
        weights @ hits, weights @ labelled, weights @ predicted, weights @ squared_distance
    )


def one_value_a_row(
    columns: NDArray[np.int64], num_columns: int, values: NDArray[np.float64] | None = None
) -> csr_array:
    """Return a sparse float64 `(rows, columns)` matrix: row i has `values[i]`, by default 1, in column `columns[i]`."""
    num_rows = len(columns)
    values = np.ones(num_rows) if values is None else values
    return csr_array((values, columns, np.arange(num_rows + 1)), shape=(num_rows, num_columns))


def wilson_interval(num_hits: int, num_rows: int) -> list[float]:
    """Return the 95 % interval of a share of rows, which keeps its width where none or all of them are hits.

    (Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927,
    https://doi.org/10.1080/01621459.1927.10502953.)
    """
    interval = binomtest(num_hits, num_rows).proportion_ci(0.95, method="wilson")
    return [float(interval.low), float(interval.high)]


def _bootstrap(
    measure: Measure, weights: NDArray[np.float64], draw: Callable[[int], NDArray[np.float64]]
) -> dict[str, Any]:
    """Measure the given weights `(rows,)` and NUM_RESAMPLES weightings from `draw`, MAX_WEIGHTS weights at a time."""
    chunk = max(1, MAX_WEIGHTS // len(weights))
    sizes = [min(chunk, NUM_RESAMPLES - start) for start in range(0, NUM_RESAMPLES, chunk)]
    chunks = [measure(draw(size)) for size in sizes]
    observed = measure(weights[None])
    bounds = {name: _percentiles(np.concatenate([part[name] for part in chunks])) for name in observed}
    for name in BIASED:
        if name in bounds:
            value, (low, high) = observed[name][0], bounds[name]
            bounds[name] = np.array([max(2 * value - high, 0), max(2 * value - low, value)])
    return {name: _to_json(value[0]) for name, value in observed.items()} | {
        "intervals": {name: _to_json(pair) for name, pair in bounds.items()}
    }


def _percentiles(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the PERCENTILES `(..., 2)` of samples `(resamples, ...)`, of the finite ones; NaN where none is finite."""
    finite = np.isfinite(samples)
    never = ~finite.any(axis=0)
    bounds = np.nanpercentile(np.where(never, 0.0, np.where(finite, samples, np.nan)), PERCENTILES, axis=0)
    return np.moveaxis(np.where(never, np.nan, bounds), 0, -1)


def _draw_rows(rng: np.random.Generator, num_resamples: int, num_rows: int) -> NDArray[np.float64]:
    """Return float64 `(resamples, rows)`: how often each row was drawn in each resample."""
    drawn = rng.integers(0, num_rows, size=(num_resamples, num_rows))
    drawn += np.arange(num_resamples)[:, None] * num_rows
    counts = np.bincount(drawn.ravel(), minlength=num_resamples * num_rows)
    return counts.reshape(num_resamples, num_rows).astype(np.float64)


def _to_json(value: Any) -> Any:
    """Return an array as nested lists, a number as a float, and None for what is not finite."""
    if isinstance(value, np.ndarray) and value.ndim:
        return [_to_json(part) for part in value]
    return float(value) if np.isfinite(value) else None

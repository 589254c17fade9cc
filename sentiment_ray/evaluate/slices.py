"""Measures quality on slices of the rows: by label, column, length, negation and confidence; knows no files."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.evaluate.scored_rows import ScoredRows
from sentiment_ray.inference.drift import name_token_bin
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.metrics.classification import compute_measures, sum_by_label
from sentiment_ray.metrics.intervals import bootstrap_counts, wilson_interval

MIN_ROWS = 20
"""A slice with fewer rows is counted but not measured."""
MAX_VALUES = 20
"""The most frequent values of a column get one slice each; all other values share one slice."""
CONFIDENCE_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9)
ENGLISH_NEGATION = re.compile(
    r"\b(?:no|not|never|none|nobody|nothing|nowhere|neither|nor|cannot|without|hardly|barely|scarcely)\b|n['’]t\b",
    re.IGNORECASE,
)

Values = tuple[Sequence[str], Sequence[str]]
"""The value of each row, and the distinct values in the order to show them."""


def measure_slices(
    scored: ScoredRows, scores: Scores, texts: Sequence[str], columns: Mapping[str, Sequence[Any]], *, seed: int
) -> list[dict[str, Any]]:
    """Return quality by slice: `by`, `value`, `rows`, `share` and, from 20 rows on, accuracy and macro-F1.

    `columns` has the values of further columns by name. The interval of accuracy is Wilson's, that of macro-F1 comes
    from a bootstrap. Macro-F1 is None where a label has no rows. `below` says that the whole interval of accuracy lies
    below the accuracy of all rows. It is false for slices by confidence, where low accuracy is expected.
    """
    accuracy = float(scored.correct.mean())
    slices = []
    for by, (values, order) in _list_slicings(scored, scores, texts, columns):
        value_by_row = np.asarray(values, dtype=object)
        for value in order:
            rows = np.flatnonzero(value_by_row == value)
            entry: dict[str, Any] = {"by": by, "value": value, "rows": len(rows), "share": len(rows) / scored.num_rows}
            if len(rows) >= MIN_ROWS:
                entry |= _measure_slice(scored.take(rows), seed=seed)
                entry["below"] = by != "confidence" and entry["accuracy_interval"][1] < accuracy
            slices.append(entry)
    return slices


def _list_slicings(
    scored: ScoredRows, scores: Scores, texts: Sequence[str], columns: Mapping[str, Sequence[Any]]
) -> Iterator[tuple[str, Values]]:
    """Yield the name of each way to slice the rows, and the value of each row."""
    labels = [scored.labels[label_id] for label_id in scored.label_ids]
    yield "label", (labels, [label for label in scored.labels if label in set(labels)])
    for name, values in columns.items():
        yield name, _merge_rare_values(values)
    bins = [name_token_bin(int(length)) for length in scores.tokens]
    yield "tokens", (bins, sorted(set(bins), key=lambda name: int(name.partition("-")[0])))
    yield "truncated", _name_yes_or_no(scores.truncated)
    yield "negation (English)", _name_yes_or_no(np.array([bool(ENGLISH_NEGATION.search(text)) for text in texts]))
    yield "confidence", _name_confidence_bins(scored.score)


def _measure_slice(scored: ScoredRows, *, seed: int) -> dict[str, Any]:
    counts = scored.counts
    num_labels = len(counts)
    quality: dict[str, Any] = {
        "accuracy": float(scored.correct.mean()),
        "accuracy_interval": wilson_interval(int(scored.correct.sum()), scored.num_rows),
        "macro_f1": None,
        "macro_f1_interval": None,
    }
    if counts.sum(axis=1).all():
        estimate = bootstrap_counts(
            lambda cells: compute_measures(sum_by_label(cells.reshape(-1, num_labels, num_labels))),
            counts.ravel(),
            seed=seed,
        )
        quality |= {"macro_f1": estimate["macro_f1"], "macro_f1_interval": estimate["intervals"]["macro_f1"]}
    return quality


def _merge_rare_values(values: Sequence[Any]) -> Values:
    """Return values as text, with one name for all but the 20 most frequent ones."""
    names = ["(null)" if value is None else str(value) for value in values]
    counted = Counter(names).most_common()
    kept = [name for name, _ in counted[:MAX_VALUES]]
    if len(counted) == len(kept):
        return names, kept
    others = f"({len(counted) - len(kept):,} other values)"
    known = set(kept)
    return [name if name in known else others for name in names], [*kept, others]


def _name_yes_or_no(values: NDArray[np.bool_]) -> Values:
    names = ["yes" if value else "no" for value in values]
    return names, [name for name in ("no", "yes") if name in set(names)]


def _name_confidence_bins(scores: NDArray[np.float64]) -> Values:
    edges = (0.0, *CONFIDENCE_EDGES, 1.0)
    bins = [f"{low:.1f}-{high:.1f}" for low, high in zip(edges, edges[1:], strict=False)]
    names = [bins[index] for index in np.digitize(scores, CONFIDENCE_EDGES)]
    return names, [name for name in bins if name in set(names)]

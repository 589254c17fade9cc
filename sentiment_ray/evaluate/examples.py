"""Selects rows that a person should look at: mistakes, uncertain predictions, and flips between two bundles."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentiment_ray.errors import DataError
from sentiment_ray.evaluate.scored_rows import ScoredRows

PREFIX, AGAINST_PREFIX = "sentiment_", "against_"
"""Prefixes of the added columns; the first is the one that score_reviews uses."""
MAX_CHARACTERS = 500
"""Characters of a text that the page shows at most."""


def find_confident_mistakes(scored: ScoredRows) -> NDArray[np.intp]:
    """Return the indices of the rows with a wrong prediction, the most confident first."""
    wrong = np.flatnonzero(~scored.correct)
    return wrong[np.argsort(-scored.score[wrong], kind="stable")]


def sort_by_certainty(scored: ScoredRows) -> NDArray[np.intp]:
    """Return the indices of all rows, the lowest score first."""
    return np.argsort(scored.score, kind="stable")


def find_flips(scored: ScoredRows, other: ScoredRows) -> NDArray[np.intp]:
    """Return the indices of the rows with two predictions.

    Rows that only `other` got right are first, then those that only `scored` got right, then the rest.
    """
    rows = np.flatnonzero(scored.predicted_ids != other.predicted_ids)
    gained = scored.correct[rows].astype(np.int64) - other.correct[rows]
    neither = ~(scored.correct[rows] | other.correct[rows])
    return rows[np.lexsort((-scored.score[rows], np.where(neither, 2, gained)))]


def make_answer_columns(scored: ScoredRows, rows: NDArray[np.intp], *, prefix: str = PREFIX) -> dict[str, pa.Array]:
    """Return columns with the predictions for some rows: label, score and the probability of each label."""
    chosen = scored.take(rows)
    probabilities = zip(chosen.labels, chosen.probabilities.T, strict=True)
    return {
        prefix + "label": pa.array([chosen.labels[label_id] for label_id in chosen.predicted_ids], pa.string()),
        prefix + "score": pa.array(chosen.score, pa.float32()),
    } | {prefix + label: pa.array(column, pa.float32()) for label, column in probabilities}


def append_columns(table: pa.Table, rows: NDArray[np.intp], answers: dict[str, pa.Array]) -> pa.Table:
    """Return some rows of a table with the columns of `answers` appended."""
    chosen = table.take(rows)
    for name, column in answers.items():
        chosen = chosen.append_column(name, column)
    return chosen


def check_column_names(table: pa.Table, labels: tuple[str, ...], prefixes: tuple[str, ...]) -> None:
    """Raise DataError when a table already has a column that the evaluation adds."""
    for prefix in prefixes:
        for name in ("label", "score", *labels):
            if prefix + name in table.column_names:
                raise DataError(
                    f"The input has a column {prefix + name!r}, a name that the evaluation adds to its tables. "
                    "Rename or remove the column."
                )


def format_examples(scored: ScoredRows, texts: list[str], rows: NDArray[np.intp]) -> list[dict[str, Any]]:
    """Return some rows for the page: text, cut after 500 characters, label, predicted label and score."""
    chosen = scored.take(rows)
    return [
        {
            "text": texts[row][:MAX_CHARACTERS],
            "left_out": max(0, len(texts[row]) - MAX_CHARACTERS),
            "label": chosen.labels[label_id],
            "predicted": chosen.labels[predicted_id],
            "score": float(score),
        }
        for row, label_id, predicted_id, score in zip(
            rows, chosen.label_ids, chosen.predicted_ids, chosen.score, strict=True
        )
    ]

"""Rows worth a person's look, as tables and as text to show: mistakes, unsure answers, flips between bundles."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentiment_ray.errors import DataError
from sentiment_ray.evaluate.scored import Scored

PREFIX, AGAINST_PREFIX = "sentiment_", "against_"
"""What the names of added columns begin with; the first is as in scores."""
MAX_CHARACTERS = 500
"""Characters of a text that the page shows."""


def confident_mistakes(scored: Scored) -> NDArray[np.intp]:
    """Return the places of wrong rows, the most confident first."""
    wrong = np.flatnonzero(~scored.correct)
    return wrong[np.argsort(-scored.score[wrong], kind="stable")]


def least_certain(scored: Scored) -> NDArray[np.intp]:
    """Return the places of all rows, the lowest score first."""
    return np.argsort(scored.score, kind="stable")


def flipped(scored: Scored, other: Scored) -> NDArray[np.intp]:
    """Return the places of rows with two answers: first those that only the other got right, then only this one."""
    rows = np.flatnonzero(scored.predicted_ids != other.predicted_ids)
    gained = scored.correct[rows].astype(np.int64) - other.correct[rows]
    neither = ~(scored.correct[rows] | other.correct[rows])
    return rows[np.lexsort((-scored.score[rows], np.where(neither, 2, gained)))]


def answers_of(scored: Scored, rows: NDArray[np.intp], *, prefix: str = PREFIX) -> dict[str, pa.Array]:
    """Return columns with the answers to some rows: label, score and one probability a label."""
    some = scored.take(rows)
    probabilities = zip(some.labels, some.probabilities.T, strict=True)
    return {
        prefix + "label": pa.array([some.labels[place] for place in some.predicted_ids], pa.string()),
        prefix + "score": pa.array(some.score, pa.float32()),
    } | {prefix + label: pa.array(column, pa.float32()) for label, column in probabilities}


def with_answers(table: pa.Table, rows: NDArray[np.intp], answers: dict[str, pa.Array]) -> pa.Table:
    """Return some rows of a table, with all its columns and those of the answers behind them."""
    some = table.take(rows)
    for name, column in answers.items():
        some = some.append_column(name, column)
    return some


def check_names(table: pa.Table, labels: tuple[str, ...], prefixes: tuple[str, ...]) -> None:
    """Refuse, with DataError, rows that have a column already which `with_answers` will add."""
    for prefix in prefixes:
        for name in ("label", "score", *labels):
            if prefix + name in table.column_names:
                raise DataError(
                    f"The input has a column {prefix + name!r}, which the evaluation adds to its examples. "
                    "Rename the column, or leave it out."
                )


def shown(scored: Scored, texts: list[str], rows: NDArray[np.intp]) -> list[dict[str, Any]]:
    """Return some rows for the page: text, cut where it is long, its label, the predicted one and its score."""
    some = scored.take(rows)
    return [
        {
            "text": texts[row][:MAX_CHARACTERS],
            "left_out": max(0, len(texts[row]) - MAX_CHARACTERS),
            "label": some.labels[label_id],
            "predicted": some.labels[predicted_id],
            "score": float(score),
        }
        for row, label_id, predicted_id, score in zip(rows, some.label_ids, some.predicted_ids, some.score, strict=True)
    ]

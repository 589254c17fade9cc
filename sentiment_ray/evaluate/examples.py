"""Selects the rows that a person should look at: mistakes, uncertain predictions, and flips between two bundles."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from sentiment_ray.errors import DataError
from sentiment_ray.evaluate.attribution import attribute_words
from sentiment_ray.evaluate.config import EvaluateConfig
from sentiment_ray.evaluate.scored_rows import ScoredRows
from sentiment_ray.inference.predictor import Predictor

PREFIX, AGAINST_PREFIX = "sentiment_", "against_"
"""Prefixes of the added columns; the first is the one that score_reviews uses."""
MAX_CHARACTERS = 500
"""Characters of a text that the page shows at most."""
NUM_SHOWN = 10
"""Examples of each kind on the page; the Parquet files have more."""


@dataclass(frozen=True)
class Examples:
    """Indices of the rows to look at: all mistakes, all rows from the lowest score up, and all flips."""

    scored: ScoredRows
    other: ScoredRows | None
    """The same rows, scored by the bundle to compare with."""
    mistakes: NDArray[np.intp]
    uncertain: NDArray[np.intp]
    flips: NDArray[np.intp]


def select_examples(scored: ScoredRows, other: ScoredRows | None) -> Examples:
    """Select the rows to look at; without another bundle there are no flips."""
    flips = find_flips(scored, other) if other else np.zeros(0, dtype=np.intp)
    return Examples(scored, other, find_confident_mistakes(scored), sort_by_certainty(scored), flips)


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


def check_column_names(table: pa.Table, labels: tuple[str, ...], prefixes: tuple[str, ...]) -> None:
    """Raise DataError when a table already has a column that the evaluation adds."""
    for prefix in prefixes:
        for name in ("label", "score", *labels):
            if prefix + name in table.column_names:
                raise DataError(
                    f"The input has a column {prefix + name!r}, a name that the evaluation adds to its tables. "
                    "Rename or remove the column."
                )


def write_example_tables(directory: Path, examples: Examples, table: pa.Table, *, max_rows: int) -> None:
    """Write mistakes.parquet, uncertain.parquet and, with another bundle, flips.parquet.

    Each has all columns of `table` and the predictions. The first two have at most `max_rows` rows.
    """
    tables = {"mistakes": examples.mistakes[:max_rows], "uncertain": examples.uncertain[:max_rows]}
    answers = {name: _make_answer_columns(examples.scored, rows) for name, rows in tables.items()}
    if examples.other:
        tables["flips"] = examples.flips
        answers["flips"] = _make_answer_columns(examples.scored, examples.flips)
        answers["flips"] |= _make_answer_columns(examples.other, examples.flips, prefix=AGAINST_PREFIX)
    for name, rows in tables.items():
        content = _append_columns(table, rows, answers[name])
        parquet.write_table(content, directory / f"{name}.parquet", compression="zstd")


def format_examples(
    config: EvaluateConfig, predictor: Predictor, examples: Examples, texts: list[str]
) -> dict[str, Any]:
    """Return the rows that the page shows with texts. Of those with word effects, half are mistakes if possible."""
    scored, other, flips = examples.scored, examples.other, examples.flips[:NUM_SHOWN]
    half_mistakes = examples.mistakes[: (config.attributions + 1) // 2]
    explained = list(dict.fromkeys([*half_mistakes, *examples.uncertain]))[: config.attributions]
    return {
        "mistakes": _format_rows(scored, texts, examples.mistakes[:NUM_SHOWN]),
        "uncertain": _format_rows(scored, texts, examples.uncertain[:NUM_SHOWN]),
        "attributions": attribute_words(predictor, scored, texts, np.array(explained, dtype=np.intp)),
        "flips": [
            example | {"against": other.labels[other.predicted_ids[row]]}
            for example, row in zip(_format_rows(scored, texts, flips), flips, strict=True)
        ]
        if other
        else [],
    }


def _make_answer_columns(scored: ScoredRows, rows: NDArray[np.intp], *, prefix: str = PREFIX) -> dict[str, pa.Array]:
    """Return columns with the predictions for some rows: label, score and the probability of each label."""
    chosen = scored.take(rows)
    probabilities = zip(chosen.labels, chosen.probabilities.T, strict=True)
    return {
        prefix + "label": pa.array([chosen.labels[label_id] for label_id in chosen.predicted_ids], pa.string()),
        prefix + "score": pa.array(chosen.score, pa.float32()),
    } | {prefix + label: pa.array(column, pa.float32()) for label, column in probabilities}


def _append_columns(table: pa.Table, rows: NDArray[np.intp], answers: dict[str, pa.Array]) -> pa.Table:
    """Return some rows of a table with the columns of `answers` appended."""
    chosen = table.take(rows)
    for name, column in answers.items():
        chosen = chosen.append_column(name, column)
    return chosen


def _format_rows(scored: ScoredRows, texts: Sequence[str], rows: NDArray[np.intp]) -> list[dict[str, Any]]:
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

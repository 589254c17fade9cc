"""Measures the effect of each word on a prediction by leaving it out; uses the Predictor alone."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.evaluate.scored_rows import ScoredRows
from sentiment_ray.inference.predictor import Predictor

MAX_WORDS = 100
"""Words of a text that are left out in turn. The words after them are neither tried nor shown."""
WORD = re.compile(r"\S+")


def attribute_words(
    predictor: Predictor, scored: ScoredRows, texts: Sequence[str], rows: NDArray[np.intp]
) -> list[dict[str, Any]]:
    """Return for some rows the `drop` of each word: how much the score of the predicted label drops without the word.

    This is occlusion (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014,
    https://arxiv.org/abs/1311.2901). Words are separated by white space, and the text without one word is scored like
    any text. Each row has `label`, `predicted`, `score`, `words` as `{text, drop}`, and `left_out`, the number of words
    that were not tried.
    """
    spans = [list(WORD.finditer(texts[row])) for row in rows]
    tried = [row_spans[:MAX_WORDS] for row_spans in spans]
    shortened = [
        text[: word.start()] + text[word.end() :]
        for text, words in zip((texts[row] for row in rows), tried, strict=True)
        for word in words
    ]
    probabilities = predictor.score(shortened).probabilities.astype(np.float64)
    attributions, start = [], 0
    for row, row_spans, words in zip(rows, spans, tried, strict=True):
        predicted_id = scored.predicted_ids[row]
        score = float(scored.score[row])
        drops = score - probabilities[start : start + len(words), predicted_id]
        start += len(words)
        attributions.append(
            {
                "label": scored.labels[scored.label_ids[row]],
                "predicted": scored.labels[predicted_id],
                "score": score,
                "words": [{"text": word.group(), "drop": float(drop)} for word, drop in zip(words, drops, strict=True)],
                "left_out": len(row_spans) - len(words),
            }
        )
    return attributions

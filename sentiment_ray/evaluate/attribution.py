"""What each word does to an answer, by leaving it out; asks the Predictor alone and knows nothing of models."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.evaluate.scored import Scored
from sentiment_ray.inference.predictor import Predictor

MAX_WORDS = 100
"""Words of a text that are left out in turn; those behind them are neither tried nor shown."""
WORD = re.compile(r"\S+")


def attributions_of(
    predictor: Predictor, scored: Scored, texts: Sequence[str], rows: NDArray[np.intp]
) -> list[dict[str, Any]]:
    """Return for some rows each word's `drop`: what the predicted label's probability loses without the word.

    This is occlusion (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014,
    https://arxiv.org/abs/1311.2901), by words between blanks: the whole text minus one word, scored as any text.
    Each row has `label`, `predicted`, `score`, `words` as `{text, drop}` and `left_out`, how many words were not tried.
    """
    spans = [list(WORD.finditer(texts[row])) for row in rows]
    tried = [found[:MAX_WORDS] for found in spans]
    shortened = [
        text[: word.start()] + text[word.end() :]
        for text, words in zip((texts[row] for row in rows), tried, strict=True)
        for word in words
    ]
    probabilities = predictor.score(shortened).probabilities.astype(np.float64)
    attributions, start = [], 0
    for row, found, words in zip(rows, spans, tried, strict=True):
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
                "left_out": len(found) - len(words),
            }
        )
    return attributions

"""The one function from texts to logits, probabilities and labels; knows no bundle, no Ray and no Parquet."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.engine_specs import get_batching
from sentiment_ray.errors import DataError
from sentiment_ray.inference.encoding_ahead import IndexedLogits, TextCounts, compute_logits, compute_logits_ahead
from sentiment_ray.inference.engines import Engine
from sentiment_ray.text.batching import make_batches
from sentiment_ray.text.encoding import Encoded, TextEncoder, encode, pool_logits, select_rows
from sentiment_ray.text.truncation import TokenWindows


@dataclass(frozen=True)
class Scores:
    """The answers for many texts, one row a text, in the order of the texts.

    `logits` and `probabilities` float32 `(texts, labels)`; `label_ids` int64 `(texts,)`; `tokens` int32 `(texts,)`, the
    tokens of all windows of a text; `truncated` bool `(texts,)`, whether a part of the text was not read; `unknown`
    int32 `(texts,)`, the tokens that stand for unknown words.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    label_ids: NDArray[np.int64]
    tokens: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    unknown: NDArray[np.int32]


def compute_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax of float32 logits `(texts, labels)` over the labels."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), dtype=np.float32)


def make_scores(
    logits: NDArray[np.float32],
    *,
    tokens: NDArray[np.int32],
    truncated: NDArray[np.bool_],
    unknown: NDArray[np.int32],
) -> Scores:
    """Return the scores of texts with some logits, float32 `(texts, labels)`; the others are as in `Scores`."""
    return Scores(logits, compute_probabilities(logits), logits.argmax(axis=1), tokens, truncated, unknown)


def check_texts(texts: Sequence[str]) -> list[str]:
    """Return texts as a list. DataError where they are no sequence or column, and for an entry that is not a string.

    A single string is refused: it is a sequence of letters.
    """
    if isinstance(texts, str | bytes | dict) or getattr(texts, "ndim", 1) != 1:  # or a table of several columns
        raise DataError(f"texts is {type(texts).__name__}, not a list of texts. Write [text] for a single one.")
    texts = list(texts)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"texts[{index}] is {type(text).__name__}, not a string. Remove it or turn it into text.")
    return texts


def score_no_texts(num_labels: int) -> Scores:
    """Return the scores of an empty list of texts."""
    none = np.zeros(0, dtype=np.int32)
    empty = np.zeros((0, num_labels), dtype=np.float32)
    return Scores(empty, empty, none.astype(np.int64), none, none.astype(np.bool_), none)


def score_in_batches(
    engine: Engine, encoder: TextEncoder, texts: Sequence[str], *, tokens_per_batch: int | None = None
) -> Iterator[tuple[NDArray[np.intp], Scores]]:
    """Yield the indices and the scores of the texts of each batch.

    A batch has at most `tokens_per_batch` tokens, by default as many as suit the engine. All its rows are padded to one
    length, which follows from the length of each row and from nothing else. So in fp32 a text gets the same bits in
    every batch on a CPU, and everywhere `is_batch_invariant` says so. A long text that is read in windows comes with
    the batch of its last window. The longest texts are first, unless the engine needs texts encoded beside it.
    """
    batching = get_batching(engine.name)
    budget = tokens_per_batch or batching.tokens_per_batch
    if batching.encodes_ahead and not isinstance(encoder.truncation, TokenWindows):
        counts = TextCounts.of_none(len(texts))
        batches = compute_logits_ahead(engine, encoder, texts, counts, tokens_per_batch=budget)
    else:
        encoded = encode(encoder, texts)
        counts = TextCounts(encoded.num_tokens, encoded.num_unknown, encoded.truncated)
        batches = _compute_row_logits(engine, encoder, encoded, budget)
        if len(encoded.ids) > len(texts):
            batches = _pool_rows(batches, encoder, encoded)
    for text_indices, logits in batches:
        yield (
            text_indices,
            make_scores(
                logits,
                tokens=counts.tokens[text_indices],
                truncated=counts.truncated[text_indices],
                unknown=counts.unknown[text_indices],
            ),
        )


def _compute_row_logits(
    engine: Engine, encoder: TextEncoder, encoded: Encoded, tokens_per_batch: int
) -> Iterator[IndexedLogits]:
    batches = make_batches(
        encoded.lengths,
        get_batching(engine.name),
        max_tokens=encoder.max_tokens,
        tokens_per_batch=tokens_per_batch,
    )
    for batch in batches:
        ids = [encoded.ids[row] for row in batch.rows]
        yield batch.rows, compute_logits(engine, encoder, ids, length=batch.length, num_rows=batch.num_rows)


def _pool_rows(batches: Iterable[IndexedLogits], encoder: TextEncoder, encoded: Encoded) -> Iterator[IndexedLogits]:
    """Turn batches of rows into batches of texts; a text is yielded as soon as all its rows are there."""
    num_missing = np.bincount(encoded.text_indices)
    logits: NDArray[np.float32] | None = None
    for rows, row_logits in batches:
        if logits is None:
            logits = np.empty((len(encoded.ids), row_logits.shape[1]), dtype=np.float32)
        logits[rows] = row_logits
        text_indices, num_arrived = np.unique(encoded.text_indices[rows], return_counts=True)
        num_missing[text_indices] -= num_arrived
        complete = text_indices[num_missing[text_indices] == 0]
        if len(complete):
            rows = select_rows(encoded, complete)
            yield complete, pool_logits(logits[rows], encoded.text_indices[rows], encoder.truncation)


def score_texts(
    engine: Engine, encoder: TextEncoder, texts: Sequence[str], *, tokens_per_batch: int | None = None
) -> Scores:
    """Score one or more texts in batches (see `score_in_batches`), and return the scores in the order of the texts."""
    return restore_order(score_in_batches(engine, encoder, texts, tokens_per_batch=tokens_per_batch), len(texts))


def restore_order(batches: Iterable[tuple[NDArray[np.intp], Scores]], num_texts: int) -> Scores:
    """Join the scores of one or more batches in the order of the texts; if a text comes twice, the last one counts."""
    indices, scores = zip(*batches, strict=True)
    columns = []
    for field in fields(Scores):
        values = np.concatenate([getattr(batch, field.name) for batch in scores])
        column = np.empty((num_texts, *values.shape[1:]), dtype=values.dtype)
        column[np.concatenate(indices)] = values
        columns.append(column)
    return Scores(*columns)

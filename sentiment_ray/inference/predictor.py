"""The one function from texts to labels and probabilities, and the `Predictor`; knows nothing of Ray or of Parquet."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.bundle.manifest import Manifest
from sentiment_ray.bundle.open import Bundle, open_bundle
from sentiment_ray.engine_specs import ENGINES
from sentiment_ray.errors import DataError, SelfTestError
from sentiment_ray.inference.choice import rank_choices
from sentiment_ray.inference.engines import Engine, import_in_background, load_engine
from sentiment_ray.inference.invariance import is_batch_invariant
from sentiment_ray.text.batching import equal_length_batches, pad, round_up_lengths
from sentiment_ray.text.encoding import Encoded, TextEncoder, encode, parse_encoder, pool_logits, select_rows

logger = logging.getLogger(__name__)

IndexedLogits = tuple[NDArray[np.intp], NDArray[np.float32]]
"""Indices of rows or of texts, and their logits `(indices, labels)`."""

DEFAULT_TOKENS_PER_BATCH = 2048
SELF_TEST_SLACK = 0.02
"""How much farther from torch than at the export a probability may be. Between bf16 and fp32 it is half of this."""


@dataclass(frozen=True)
class Prediction:
    """The answer for one text."""

    label: str
    score: float
    probabilities: dict[str, float]
    tokens: int
    truncated: bool


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


def score_in_batches(
    engine: Engine, encoder: TextEncoder, texts: Sequence[str], *, tokens_per_batch: int = DEFAULT_TOKENS_PER_BATCH
) -> Iterator[tuple[NDArray[np.intp], Scores]]:
    """Yield the indices and the scores of the texts of each batch, longest texts first.

    A batch has at most `tokens_per_batch` tokens. All its rows are padded to one length, which follows from the length
    of each row and from nothing else. So in fp32 a text gets the same bits in every batch, and in every precision where
    `is_batch_invariant` says so. A long text that is read in windows comes with the batch of its last window.
    """
    encoded = encode(encoder, texts)
    batches = _compute_row_logits(engine, encoder, encoded, tokens_per_batch)
    if len(encoded.ids) > len(texts):
        batches = _pool_rows(batches, encoder, encoded)
    for text_indices, logits in batches:
        yield (
            text_indices,
            Scores(
                logits=logits,
                probabilities=compute_probabilities(logits),
                label_ids=logits.argmax(axis=1),
                tokens=encoded.num_tokens[text_indices],
                truncated=encoded.truncated[text_indices],
                unknown=encoded.num_unknown[text_indices],
            ),
        )


def _compute_row_logits(
    engine: Engine, encoder: TextEncoder, encoded: Encoded, tokens_per_batch: int
) -> Iterator[IndexedLogits]:
    lengths = round_up_lengths(encoded.lengths, max_tokens=encoder.max_tokens)
    for rows in equal_length_batches(lengths, tokens_per_batch=tokens_per_batch):
        ids = [encoded.ids[row] for row in rows]
        yield rows, engine.logits(*pad(ids, pad_id=encoder.pad_id, length=int(lengths[rows[0]])))


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
    engine: Engine, encoder: TextEncoder, texts: Sequence[str], *, tokens_per_batch: int = DEFAULT_TOKENS_PER_BATCH
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


@dataclass(frozen=True)
class PackedBundle:
    """What a Predictor needs of a verified bundle, as bytes that can be sent to another machine.

    `source` is the bundle's path, for error messages.
    """

    manifest: Manifest
    engine: str
    variant: str
    tokenizer: bytes
    model: bytes
    source: str


def pack_bundle(
    path: str | Path, *, engine: str = "auto", variant: str = "auto", require_signature: str | Path | None = None
) -> PackedBundle:
    """Read and check a bundle, and choose an engine and a variant.

    Every file is read once, so the bytes that are used are the bytes that were checked. The files of other variants are
    not read. `auto` takes the fastest engine and variant that passed the bundle's gate. With `require_signature`, the
    file of a public key, the bundle must be signed by that key. BundleError, ConfigError or MissingExtraError say what
    to do.
    """
    bundle = open_bundle(path, require_signature=require_signature)
    return _pack(bundle, *rank_choices(bundle, engine, variant)[0])


def _pack(bundle: Bundle, engine: str, variant: str) -> PackedBundle:
    return PackedBundle(
        bundle.manifest, engine, variant, bundle.tokenizer, bundle.model(variant), source=str(bundle.path)
    )


class Predictor:
    """A bundle in memory, ready to answer; one thread at a time.

    Example:
        >>> predictor = Predictor.load("runs/demo/bundle")
        >>> predictor.predict(["This is a cherry pie."])[0].label
        'neutral'
    """

    def __init__(self, packed: PackedBundle, *, threads: int | None = None) -> None:
        manifest = packed.manifest
        self.manifest = manifest
        self.labels = manifest.labels
        self.variant = packed.variant
        self.engine = packed.engine
        self._encoder = parse_encoder(
            packed.tokenizer,
            max_tokens=manifest.max_tokens,
            truncation=manifest.truncation,
            cleaning_steps=manifest.steps,
            source=f"{packed.source}/tokenizer.json",
        )
        source = f"{packed.source}/{manifest.variants[packed.variant].file}"
        self._engine = load_engine(packed.engine, packed.model, threads=threads, source=source)
        self._run_self_test(source)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        engine: str = "auto",
        variant: str = "auto",
        threads: int | None = None,
        require_signature: str | Path | None = None,
    ) -> "Predictor":
        """Load a bundle and check every byte that is used.

        See `pack_bundle` for `auto`, `require_signature` and the errors.

        `threads` is by default the number of cores that this process may use. With `auto` the next best engine or
        variant is tried, with a warning, when one fails the bundle's self-test on this processor.
        """
        bundle = open_bundle(path, require_signature=require_signature)
        *others, last = rank_choices(bundle, engine, variant)
        import_in_background((*others, last)[0][0])
        for choice in others:
            try:
                return cls(_pack(bundle, *choice), threads=threads)
            except SelfTestError as error:
                logger.warning("%s", error)
        return cls(_pack(bundle, *last), threads=threads)

    def score(self, texts: Sequence[str], *, tokens_per_batch: int = DEFAULT_TOKENS_PER_BATCH) -> Scores:
        """Return the scores of texts as arrays; DataError names the first entry that is not a string.

        `texts` is any sequence or column of strings. A single string is refused: it is a sequence of letters.
        """
        if isinstance(texts, str | bytes | dict) or getattr(texts, "ndim", 1) != 1:  # or a table of several columns
            raise DataError(f"texts is {type(texts).__name__}, not a list of texts. Write [text] for a single one.")
        texts = list(texts)
        if not texts:
            empty = np.zeros((0, len(self.labels)), dtype=np.float32)
            none = np.zeros(0, dtype=np.int32)
            return Scores(empty, empty, none.astype(np.int64), none, none.astype(np.bool_), none)
        return restore_order(self.score_in_batches(texts, tokens_per_batch=tokens_per_batch), len(texts))

    def score_in_batches(
        self, texts: Sequence[str], *, tokens_per_batch: int = DEFAULT_TOKENS_PER_BATCH
    ) -> Iterator[tuple[NDArray[np.intp], Scores]]:
        """Yield the indices and the scores of each batch as soon as it is scored; see the function of this name."""
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(
                    f"texts[{index}] is {type(text).__name__}, not a string. Remove it or turn it into text."
                )
        return score_in_batches(self._engine, self._encoder, texts, tokens_per_batch=tokens_per_batch)

    def _run_self_test(self, source: str) -> None:
        """Score the texts of the bundle's self-test; SelfTestError when a probability is too far from torch's.

        An int8 file gives other answers on a processor without VNNI (onnxruntime#5849, #6004, #14642).
        """
        test = self.manifest.self_test
        recorded = test.differences.get(self.variant, {}).get(ENGINES[self.engine].gate_engine) if test else None
        if test is None or recorded is None:
            return
        difference = np.abs(self.score(test.texts).probabilities - np.array(test.probabilities, np.float32)).max()
        if not difference <= recorded + SELF_TEST_SLACK:
            raise SelfTestError(
                f"{source}: with {self.engine} on this processor probabilities are up to {difference:.3f} from "
                f"torch's; at the export they were up to {max(recorded, 0):.3f} from them. Name another engine or "
                "variant: `sentiment-ray inspect` lists them."
            )

    def is_batch_invariant(self, *, tokens_per_batch: int = DEFAULT_TOKENS_PER_BATCH) -> bool:
        """Whether a text gets the same bits in every batch of at most `tokens_per_batch` tokens.

        Each call is a trial that costs as much as scoring 5,000 tokens; see `invariance.is_batch_invariant`.
        """
        return is_batch_invariant(self._engine, self._encoder, tokens_per_batch=tokens_per_batch)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return a Prediction for each text, in order; a single string is refused: it is a sequence of letters."""
        if isinstance(texts, str):
            raise DataError("predict takes a list of texts. Write predict([text]) for a single one.")
        scores = self.score(texts)
        return [
            Prediction(
                label=self.labels[label_id],
                score=float(probabilities[label_id]),
                probabilities={label: float(value) for label, value in zip(self.labels, probabilities, strict=True)},
                tokens=int(tokens),
                truncated=bool(truncated),
            )
            for label_id, probabilities, tokens, truncated in zip(
                scores.label_ids, scores.probabilities, scores.tokens, scores.truncated, strict=True
            )
        ]

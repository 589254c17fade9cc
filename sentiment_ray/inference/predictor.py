"""The one path from texts through a bundle to labels and probabilities; knows nothing of files of reviews or Ray."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.bundle.manifest import Manifest
from sentiment_ray.bundle.open import Bundle, open_bundle
from sentiment_ray.errors import DataError, SelfTestError
from sentiment_ray.inference.choice import choices_of, gated_as
from sentiment_ray.inference.engines import Engine, import_engine, load_engine
from sentiment_ray.text.encoding import (
    Encoded,
    TextEncoder,
    encode,
    equal_length_batches,
    pad,
    parse_encoder,
    pool_logits,
    rounded_lengths,
    rows_of,
)

logger = logging.getLogger(__name__)

Batch = tuple[NDArray[np.intp], NDArray[np.float32]]
"""Rows or texts by their places, and their logits `(places, labels)`."""

DEFAULT_TOKENS_PER_BATCH = 2048
SELF_TEST_SLACK = 0.02
"""How much farther from torch than at the export a probability may be: bf16 and fp32 differ by half of it."""


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
    """The answers for many texts, one row a text in the order they came.

    `logits` and `probabilities` float32 `(texts, labels)`, `label_ids` int64 `(texts,)`, `tokens` int32 `(texts,)`, of
    all windows where a text has several, `truncated` bool `(texts,)`: a part of it was not read, `unknown` int32
    `(texts,)`: tokens that stand for what the tokenizer does not know.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    label_ids: NDArray[np.int64]
    tokens: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    unknown: NDArray[np.int32]


def probabilities_of(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax of float32 logits `(texts, labels)` over the labels."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), dtype=np.float32)


def score_in_batches(
    engine: Engine, encoder: TextEncoder, texts: Sequence[str], *, tokens_per_batch: int = DEFAULT_TOKENS_PER_BATCH
) -> Iterator[tuple[NDArray[np.intp], Scores]]:
    """Yield batch after batch, each with the places of its texts and their scores; the longest texts come first.

    A batch has texts that are padded to one length, each by its own length alone, and at most `tokens_per_batch`
    tokens, so the fp32 and bf16 kernels of both engines give a text the same bits whatever it is scored with. So it is
    with the windows of long texts, whose logits are pooled; a text comes with the batch of its last window.
    """
    encoded = encode(encoder, texts)
    batches = _row_batches(engine, encoder, encoded, tokens_per_batch)
    if len(encoded.ids) > len(texts):
        batches = _pooled(batches, encoder, encoded)
    for places, logits in batches:
        yield (
            places,
            Scores(
                logits=logits,
                probabilities=probabilities_of(logits),
                label_ids=logits.argmax(axis=1),
                tokens=encoded.tokens[places],
                truncated=encoded.truncated[places],
                unknown=encoded.unknown[places],
            ),
        )


def _row_batches(engine: Engine, encoder: TextEncoder, encoded: Encoded, tokens_per_batch: int) -> Iterator[Batch]:
    lengths = rounded_lengths(encoded.lengths, max_tokens=encoder.max_tokens)
    for rows in equal_length_batches(lengths, tokens_per_batch=tokens_per_batch):
        ids = [encoded.ids[row] for row in rows]
        yield rows, engine.logits(*pad(ids, pad_id=encoder.pad_id, length=int(lengths[rows[0]])))


def _pooled(batches: Iterable[Batch], encoder: TextEncoder, encoded: Encoded) -> Iterator[Batch]:
    """Turn batches of rows into batches of texts, each yielded once its last row has come."""
    num_missing = np.bincount(encoded.texts)
    logits: NDArray[np.float32] | None = None
    for rows, found in batches:
        if logits is None:
            logits = np.empty((len(encoded.ids), found.shape[1]), dtype=np.float32)
        logits[rows] = found
        texts, num_come = np.unique(encoded.texts[rows], return_counts=True)
        num_missing[texts] -= num_come
        whole = texts[num_missing[texts] == 0]
        if len(whole):
            rows = rows_of(encoded, whole)
            yield whole, pool_logits(logits[rows], encoded.texts[rows], encoder.truncation)


def score_texts(
    engine: Engine, encoder: TextEncoder, texts: Sequence[str], *, tokens_per_batch: int = DEFAULT_TOKENS_PER_BATCH
) -> Scores:
    """Score texts, at least one, in batches as `score_in_batches` says; rows come back in their order."""
    return in_order(score_in_batches(engine, encoder, texts, tokens_per_batch=tokens_per_batch), len(texts))


def in_order(batches: Iterable[tuple[NDArray[np.intp], Scores]], num_texts: int) -> Scores:
    """Return the scores of at least one batch as one, each row at its place; where a place comes twice, the last."""
    places, scores = zip(*batches, strict=True)
    columns = []
    for field in fields(Scores):
        values = np.concatenate([getattr(batch, field.name) for batch in scores])
        column = np.empty((num_texts, *values.shape[1:]), dtype=values.dtype)
        column[np.concatenate(places)] = values
        columns.append(column)
    return Scores(*columns)


@dataclass(frozen=True)
class PackedBundle:
    """What a Predictor needs of a verified bundle, as bytes that can be sent to another machine.

    `source` is where it came from, for messages.
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
    """Read a bundle after checking all that is read of it, and choose its engine and variant.

    No file is read twice, so what is used is what was checked; files of other variants are not read. `auto` takes what
    was fastest among the variants and engines that passed the bundle's gate. With `require_signature`, the file of a
    public key, the bundle must be signed by that key. BundleError, ConfigError or MissingExtraError say what to do.
    """
    bundle = open_bundle(path, require_signature=require_signature)
    return _pack(bundle, *choices_of(bundle, engine, variant)[0])


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
            steps=manifest.steps,
            source=f"{packed.source}/tokenizer.json",
        )
        source = f"{packed.source}/{manifest.variants[packed.variant].file}"
        self._engine = load_engine(packed.engine, packed.model, threads=threads, source=source)
        self._test_itself(source)

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
        """Load a bundle after checking every byte that is used.

        See `pack_bundle` for `auto`, `require_signature` and the errors.

        `threads` defaults to every core this process may use. Where `auto` leaves a choice, what answers otherwise on
        this processor than where it was exported is passed over with a warning.
        """
        bundle = open_bundle(path, require_signature=require_signature)
        *others, last = choices_of(bundle, engine, variant)
        import_engine((*others, last)[0][0])
        for choice in others:
            try:
                return cls(_pack(bundle, *choice), threads=threads)
            except SelfTestError as error:
                logger.warning("%s", error)
        return cls(_pack(bundle, *last), threads=threads)

    def score(self, texts: Sequence[str], *, tokens_per_batch: int = DEFAULT_TOKENS_PER_BATCH) -> Scores:
        """Score texts as arrays; DataError names the first entry that is no text.

        Any sequence or column of strings is taken; a single string is refused, for it would be read letter by letter.
        """
        if isinstance(texts, str | bytes | dict) or getattr(texts, "ndim", 1) != 1:  # or a table of several columns
            raise DataError(f"texts is {type(texts).__name__}, not a list of texts. Write [text] for a single one.")
        texts = list(texts)
        if not texts:
            empty = np.zeros((0, len(self.labels)), dtype=np.float32)
            none = np.zeros(0, dtype=np.int32)
            return Scores(empty, empty, none.astype(np.int64), none, none.astype(np.bool_), none)
        return in_order(self.score_in_batches(texts, tokens_per_batch=tokens_per_batch), len(texts))

    def score_in_batches(
        self, texts: Sequence[str], *, tokens_per_batch: int = DEFAULT_TOKENS_PER_BATCH
    ) -> Iterator[tuple[NDArray[np.intp], Scores]]:
        """Yield places and scores of batch after batch, as they are ready; see the function of this name."""
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(
                    f"texts[{index}] is {type(text).__name__}, not a string. Remove it or turn it into text."
                )
        return score_in_batches(self._engine, self._encoder, texts, tokens_per_batch=tokens_per_batch)

    def _test_itself(self, source: str) -> None:
        """Score the bundle's own test; SelfTestError when the answers are farther from torch's than at the export.

        The same int8 file gives other answers on processors without VNNI (onnxruntime#5849, #6004, #14642).
        """
        test = self.manifest.self_test
        recorded = test.differences.get(self.variant, {}).get(gated_as(self.engine)) if test else None
        if test is None or recorded is None:
            return
        difference = np.abs(self.score(test.texts).probabilities - np.array(test.probabilities, np.float32)).max()
        if not difference <= recorded + SELF_TEST_SLACK:
            raise SelfTestError(
                f"{source}: with {self.engine} on this processor probabilities are up to {difference:.3f} from "
                f"torch's, {max(recorded, 0):.3f} where it was exported. Name another engine or variant: "
                "`sentiment-ray inspect` lists them."
            )

    def is_batch_invariant(self) -> bool:
        """Whether a text gets the same bits alone and in company: true of fp32 and bf16, not of dynamic int8.

        Dynamic int8 takes its scale from the whole batch (onnxruntime#10111). Tried on a few texts, two of each length.
        """
        texts = [f"{word} " * count for count in (1, 2, 3, 5, 8, 13, 21, 34, 55, 99) for word in ("good", "bad", "not")]
        together = self.score(texts).logits
        alone = np.concatenate([self.score([text]).logits for text in texts])
        return bool(np.array_equal(together, alone))

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one Prediction a text, in order; a single string is refused, for it would be read letter by letter."""
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

"""The one path from texts through a bundle to labels and probabilities; knows nothing of files of reviews or Ray."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.bundle import Bundle, Manifest, open_bundle
from sentiment_ray.encoding import TextEncoder, encode, equal_length_batches, pad, parse_encoder
from sentiment_ray.engines import ENGINES, Engine, available_engines, load_engine
from sentiment_ray.errors import BundleError, ConfigError, DataError

DEFAULT_TOKENS_PER_BATCH = 2048


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

    `logits` and `probabilities` float32 `(texts, labels)`, `label_ids` int64 `(texts,)`, `tokens` int32 `(texts,)`,
    `truncated` bool `(texts,)`, `unknown` int32 `(texts,)`: tokens that stand for what the tokenizer does not know.
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

    A batch has texts of one length and at most `tokens_per_batch` tokens, so the fp32 and bf16 kernels of both engines
    give a text the same bits whatever it is scored with.
    """
    encoded = encode(encoder, texts)
    for places in equal_length_batches(encoded.lengths, tokens_per_batch=tokens_per_batch):
        logits = engine.logits(*pad([encoded.ids[place] for place in places], pad_id=encoder.pad_id))
        yield (
            places,
            Scores(
                logits=logits,
                probabilities=probabilities_of(logits),
                label_ids=logits.argmax(axis=1),
                tokens=encoded.lengths[places],
                truncated=encoded.truncated[places],
                unknown=encoded.unknown[places],
            ),
        )


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


def pack_bundle(path: str | Path, *, engine: str = "auto", variant: str = "auto") -> PackedBundle:
    """Read a bundle after checking all that is read of it, and choose its engine and variant.

    No file is read twice, so what is used is what was checked; files of other variants are not read. `auto` takes what
    was fastest among the variants and engines that passed the bundle's gate. BundleError, ConfigError or
    MissingExtraError say what to do.
    """
    bundle = open_bundle(path)
    engine, variant = _choose(bundle, engine, variant)
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
            packed.tokenizer, max_tokens=manifest.max_tokens, source=f"{packed.source}/tokenizer.json"
        )
        source = f"{packed.source}/{manifest.variants[packed.variant].file}"
        self._engine = load_engine(packed.engine, packed.model, threads=threads, source=source)

    @classmethod
    def load(
        cls, path: str | Path, *, engine: str = "auto", variant: str = "auto", threads: int | None = None
    ) -> "Predictor":
        """Load a bundle after checking every byte that is used; see `pack_bundle` for `auto` and the errors.

        `threads` defaults to every core this process may use.
        """
        return cls(pack_bundle(path, engine=engine, variant=variant), threads=threads)

    def score(self, texts: Sequence[str], *, tokens_per_batch: int = DEFAULT_TOKENS_PER_BATCH) -> Scores:
        """Score texts as arrays; DataError names the first entry that is no text."""
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

    def is_batch_invariant(self) -> bool:
        """Whether a text gets the same bits alone and in company: true of fp32 and bf16, not of dynamic int8.

        Dynamic int8 takes its scale from the whole batch (onnxruntime#10111). Tried on a few texts, two of each length.
        """
        texts = [f"{word} " * count for count in (1, 2, 3, 5, 8, 13, 21, 34) for word in ("good", "bad", "not")]
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


def _choose(bundle: Bundle, engine: str, variant: str) -> tuple[str, str]:
    """Return the engine and variant to load: only what passed the gate, and where there is a choice, the fastest."""
    variants = bundle.manifest.variants
    if engine not in ("auto", *ENGINES):
        raise ConfigError(f"engine = {engine!r} is unknown. Known: auto, {', '.join(ENGINES)}.")
    if variant != "auto" and variant not in variants:
        raise ConfigError(f"variant = {variant!r} is not in {bundle.path} (found: {', '.join(variants)}).")
    engines = available_engines() if engine == "auto" else [engine]
    names = list(variants) if variant == "auto" else [variant]
    passed = [(kind, name) for kind in engines for name in names if variants[name].gate.get(kind, {}).get("passed")]
    if not passed:
        raise BundleError(
            f"{bundle.path}: variant {variant!r} has passed no gate with engine {engine!r} "
            f"(installed: {', '.join(available_engines()) or 'none'}). "
            "Use auto for both, or pip install 'sentiment-ray[cpu]'."
        )
    default = bundle.manifest.defaults["cpu"]
    if (default.engine, default.variant) in passed:
        return default.engine, default.variant
    return max(passed, key=lambda pair: variants[pair[1]].bench[pair[0]]["rows_per_s"])

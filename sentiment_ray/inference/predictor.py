"""The `Predictor`: a bundle in memory that answers; knows nothing of Ray or of Parquet."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.bundle.manifest import Manifest
from sentiment_ray.bundle.open import Bundle, open_bundle
from sentiment_ray.cpu_quota import count_usable_cpus
from sentiment_ray.engine_specs import ENGINES, installed_gpu_engines
from sentiment_ray.errors import SelfTestError, SentimentRayError
from sentiment_ray.inference.choice import Pair, list_gpu_choices, rank_choices
from sentiment_ray.inference.engines import explain_unusable, import_in_background, load_engine
from sentiment_ray.inference.invariance import is_batch_invariant
from sentiment_ray.inference.race import RaceResult, pick_fastest, run_race
from sentiment_ray.inference.scoring import Scores, check_texts, score_in_batches, score_no_texts, score_texts
from sentiment_ray.inference.streams import Goal, choose_setup
from sentiment_ray.text.encoding import parse_encoder

logger = logging.getLogger(__name__)

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


def make_predictions(scores: Scores, labels: Sequence[str]) -> list[Prediction]:
    """Return a Prediction for each text of some scores."""
    return [
        Prediction(
            label=labels[label_id],
            score=float(probabilities[label_id]),
            probabilities={label: float(value) for label, value in zip(labels, probabilities, strict=True)},
            tokens=int(tokens),
            truncated=bool(truncated),
        )
        for label_id, probabilities, tokens, truncated in zip(
            scores.label_ids, scores.probabilities, scores.tokens, scores.truncated, strict=True
        )
    ]


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
    not read. `auto` takes the fastest engine and variant that passed the bundle's gate; see `choose`. With
    `require_signature`, the file of a public key, the bundle must be signed by that key. BundleError, ConfigError or
    MissingExtraError say what to do.
    """
    bundle = open_bundle(path, require_signature=require_signature)
    return pack(bundle, choose(bundle, engine, variant).pairs[0])


def pack(bundle: Bundle, choice: Pair) -> PackedBundle:
    """Return an open bundle with one engine and one variant. BundleError when the variant's file was altered."""
    engine, variant = choice
    return PackedBundle(
        bundle.manifest, engine, variant, bundle.tokenizer, bundle.model(variant), source=str(bundle.path)
    )


@dataclass(frozen=True)
class Ranking:
    """The pairs of engine and variant that may be loaded, best first, and the race that decided, if there was one."""

    pairs: list[Pair]
    race: RaceResult = RaceResult()


def choose(bundle: Bundle, engine: str, variant: str, *, threads: int | None = None) -> Ranking:
    """Return what may be loaded, best first; see `rank_choices` for the errors.

    If `auto` stands for the engine and there is an engine on a GPU that this machine can use, the best files on it and
    the best pair on the CPU take part in a race here, whose result is cached; see `race`. The winner is first.
    """
    ranked = rank_choices(bundle, engine, variant)
    usable = [name for name in installed_gpu_engines() if explain_unusable(name) is None] if engine == "auto" else []
    on_gpu = list_gpu_choices(bundle, variant, usable)
    if not on_gpu:
        return Ranking(ranked)
    candidates = [ranked[0], *on_gpu]
    race = run_race(
        bundle.manifest, candidates, lambda pair: Predictor(pack(bundle, pair), threads=threads), threads=threads
    )
    winner = pick_fastest(candidates, race.rates)
    return Ranking([winner, *(pair for pair in ranked if pair != winner)], race)


class Predictor:
    """A bundle in memory, ready to answer; several threads may call it at once.

    Example:
        >>> predictor = Predictor.load("runs/demo/bundle")
        >>> predictor.predict(["This is a cherry pie."])[0].label
        'neutral'
    """

    def __init__(self, packed: PackedBundle, *, threads: int | None = None, num_streams: int = 1) -> None:
        manifest = packed.manifest
        self.manifest = manifest
        self.labels = manifest.labels
        self.variant = packed.variant
        self.engine = packed.engine
        self.num_streams = num_streams
        self.encoder = parse_encoder(
            packed.tokenizer,
            max_tokens=manifest.max_tokens,
            truncation=manifest.truncation,
            cleaning_steps=manifest.steps,
            source=f"{packed.source}/tokenizer.json",
        )
        source = f"{packed.source}/{manifest.variants[packed.variant].file}"
        self.loaded_engine = load_engine(
            packed.engine, packed.model, threads=threads, num_streams=num_streams, source=source
        )
        self._run_self_test(source)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        engine: str = "auto",
        variant: str = "auto",
        threads: int | None = None,
        optimize_for: Goal | None = None,
        require_signature: str | Path | None = None,
    ) -> "Predictor":
        """Load a bundle and check every byte that is used.

        See `choose` for `auto`, and `pack_bundle` for `require_signature` and the errors.

        `threads` is by default the number of cores that this process may use. With `auto` the next best engine or
        variant is tried, with a warning, when one fails the bundle's self-test on this processor, or when a GPU cannot
        be used after all.

        With `optimize_for`, a measurement that is cached chooses the file for single texts ("latency") or for many
        ("throughput"), and how many batches the threads compute at once; see `choose_setup`. Otherwise it is one.
        """
        bundle = open_bundle(path, require_signature=require_signature)
        pairs = choose(bundle, engine, variant, threads=threads).pairs
        import_in_background(pairs[0][0])
        num_streams = 1
        if optimize_for and not ENGINES[pairs[0][0]].is_gpu:
            setup = choose_setup(
                bundle.manifest,
                pairs,
                optimize_for,
                lambda setup: cls(pack(bundle, setup.pair), threads=threads, num_streams=setup.num_streams),
                num_threads=threads or count_usable_cpus(),
            )
            num_streams = setup.num_streams
            pairs = [setup.pair, *(pair for pair in pairs if pair != setup.pair)]
        *others, last = pairs
        for choice in others:
            try:
                return cls(pack(bundle, choice), threads=threads, num_streams=num_streams)
            except SentimentRayError as error:
                if not isinstance(error, SelfTestError) and not ENGINES[choice[0]].is_gpu:
                    raise
                logger.warning("%s", error)
        return cls(pack(bundle, last), threads=threads, num_streams=num_streams)

    def score(self, texts: Sequence[str], *, tokens_per_batch: int | None = None) -> Scores:
        """Return the scores of texts as arrays; DataError names the first entry that is not a string.

        `texts` is any sequence or column of strings. A single string is refused: it is a sequence of letters.
        """
        texts = check_texts(texts)
        if not texts:
            return score_no_texts(len(self.labels))
        return score_texts(self.loaded_engine, self.encoder, texts, tokens_per_batch=tokens_per_batch)

    def score_in_batches(
        self, texts: Sequence[str], *, tokens_per_batch: int | None = None
    ) -> Iterator[tuple[NDArray[np.intp], Scores]]:
        """Yield the indices and the scores of each batch as soon as it is scored; see the function of this name."""
        return score_in_batches(self.loaded_engine, self.encoder, check_texts(texts), tokens_per_batch=tokens_per_batch)

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

    def is_batch_invariant(self, *, tokens_per_batch: int | None = None) -> bool:
        """Whether a text gets the same bits in every batch of at most `tokens_per_batch` tokens, as far as trials tell.

        Each call makes a short trial, which costs as much as scoring 5,000 tokens. Where the bundle records no trial
        on a machine like this one, a longer trial follows, once for each machine; see `invariance.is_batch_invariant`.
        """
        choice = (self.engine, self.variant)
        budget = tokens_per_batch or ENGINES[self.engine].batching.tokens_per_batch
        return is_batch_invariant(self.loaded_engine, self.encoder, self.manifest, choice, tokens_per_batch=budget)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return a Prediction for each text, in order; a single string is refused: it is a sequence of letters."""
        return make_predictions(self.score(texts), self.labels)

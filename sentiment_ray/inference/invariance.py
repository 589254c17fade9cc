"""Whether an engine gives a text the same bits in every batch: a trial of real texts, and what a bundle records of it.

Knows texts and manifests, and no files of a bundle.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.bundle.manifest import BatchInvariance, Manifest
from sentiment_ray.engine_specs import ENGINES
from sentiment_ray.inference.engines import Engine
from sentiment_ray.inference.hardware import read_processor
from sentiment_ray.inference.machine_cache import describe_machine, read_cached, write_cached
from sentiment_ray.inference.scoring import score_texts
from sentiment_ray.inference.short_trial import passes_short_trial
from sentiment_ray.inference.trial_texts import make_trial_texts
from sentiment_ray.text.encoding import TextEncoder, encode

TRIAL_TEXTS = 1000
TEXTS_ALONE = 200
LONG_TEXTS = 32
"""Texts that are joined for a trial, so that it has texts of every length up to `max_tokens`."""
TEXTS_AT_LOAD = 300
"""Texts of a trial on a CPU that no export made: a few seconds. On a GPU there are TRIAL_TEXTS."""
PIECES = (0.03, 0.12, 0.35)
"""Shares of the texts that are scored together in a trial, as in units of other sizes; the rest is one more piece."""
CACHE_KIND = "batch-invariance"


@dataclass(frozen=True)
class Trial:
    """What a trial tried: how many texts, how many of them also alone, and the tokens of the longest row.

    `differing` is the number of texts that did not get the same bits everywhere.
    """

    texts: int
    texts_alone: int
    longest: int
    tokens_per_batch: int
    differing: int


def is_batch_invariant(
    engine: Engine, encoder: TextEncoder, manifest: Manifest, choice: tuple[str, str], *, tokens_per_batch: int
) -> bool:
    """Whether a text gets the same bits in every batch of at most `tokens_per_batch` tokens, as far as trials can tell.

    `choice` names the engine and the variant that `engine` runs. The answer is no where the short trial here or the
    trial of the export found a difference. It is yes where both found none, and the export ran on a processor with the
    same instruction sets, with the same version of the engine, and with batches as large. For everything else, such as
    a GPU, the trial of texts is made here, once for each machine.
    """
    name, variant = choice
    recorded = manifest.variants[variant].gate.get(name, {}).get("batch_invariance")
    record = BatchInvariance.model_validate(recorded) if recorded else None
    if record and record.differing:
        return False
    if not passes_short_trial(engine, encoder, tokens_per_batch=tokens_per_batch):
        return False
    if record and _is_of_this_machine(record, name) and tokens_per_batch <= record.tokens_per_batch:
        return True
    depends_on = [manifest.bundle_id, choice, tokens_per_batch, describe_machine(name)]
    result = read_cached(CACHE_KIND, depends_on) or {}
    if not isinstance(result.get("differing"), int):
        texts = make_trial_texts(
            TRIAL_TEXTS if ENGINES[name].is_gpu else TEXTS_AT_LOAD,
            max_tokens=manifest.max_tokens,
            reference=manifest.reference.get("tokens", {}),
        )
        trial = try_texts(engine, encoder, texts, tokens_per_batch=tokens_per_batch, stop_early=True)
        result = vars(trial)
        write_cached(CACHE_KIND, depends_on, result)
    return not result["differing"]


def make_record(trial: Trial, engine: str) -> dict[str, Any]:
    """Return what the manifest says of a trial on this machine, ready for JSON."""
    processor, version = read_processor(), ENGINES[engine].installed_version() or ""
    return vars(trial) | {"version": version, "instruction_sets": list(processor.instruction_sets)}


def choose_trial_texts(encoder: TextEncoder, texts: Sequence[str]) -> list[str]:
    """Return at most TRIAL_TEXTS of the texts, of all lengths. If none is as long as can be read, longer ones are made.

    These are joined of several texts. There are LONG_TEXTS of them, and the longest have `max_tokens` tokens.
    """
    num_tokens = encode(encoder, texts).num_tokens
    kept = [texts[index] for index in np.sort(_choose_spread(num_tokens, TRIAL_TEXTS))]
    if num_tokens.max() >= encoder.max_tokens:
        return kept
    repeats = np.linspace(num_tokens.max(), 2 * encoder.max_tokens, LONG_TEXTS) / num_tokens.mean()
    joined = [
        " ".join(islice(cycle(kept), start, start + math.ceil(num_texts))) for start, num_texts in enumerate(repeats)
    ]
    return kept + joined


def try_texts(
    engine: Engine,
    encoder: TextEncoder,
    texts: Sequence[str],
    *,
    tokens_per_batch: int,
    stop_early: bool = False,
) -> Trial:
    """Score texts in company of each other, in three ways, and some of them alone; count those whose bits differ.

    They are scored all together, then in random pieces, as in other units, then in reverse in batches of a quarter of
    the size. TEXTS_ALONE of them, of all lengths, are scored alone. With `stop_early` the trial ends at the first
    difference, and `differing` counts what was found until then.
    """
    encoded = encode(encoder, texts)
    alone = _choose_spread(encoded.num_tokens, TEXTS_ALONE)
    expected = score_texts(engine, encoder, texts, tokens_per_batch=tokens_per_batch).logits
    differs = np.zeros(len(texts), dtype=np.bool_)
    for indices, budget in _list_batches(len(texts), alone, tokens_per_batch):
        group = [texts[index] for index in indices]
        logits = score_texts(engine, encoder, group, tokens_per_batch=budget).logits
        differs[indices] |= ~(logits == expected[indices]).all(axis=1)
        if stop_early and differs.any():
            break
    return Trial(
        texts=len(texts),
        texts_alone=len(alone),
        longest=int(encoded.lengths.max()),
        tokens_per_batch=tokens_per_batch,
        differing=int(differs.sum()),
    )


def _list_batches(
    num_texts: int, alone: NDArray[np.intp], tokens_per_batch: int
) -> Iterator[tuple[NDArray[np.intp], int]]:
    """Yield the indices of the texts that are scored in one call, and the tokens of its batches."""
    order = np.random.default_rng(0).permutation(num_texts)
    for piece in np.split(order, (np.cumsum(PIECES) * num_texts).astype(np.intp)):
        if len(piece):
            yield piece, tokens_per_batch
    yield np.arange(num_texts)[::-1], max(1, tokens_per_batch // 4)
    yield from ((np.array([index]), tokens_per_batch) for index in alone)


def _choose_spread(num_tokens: NDArray[np.int32], count: int) -> NDArray[np.intp]:
    """Return the indices of `count` texts that are spread over all lengths, the shortest and the longest among them."""
    order = np.argsort(num_tokens, kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(np.intp))]


def _is_of_this_machine(record: BatchInvariance, engine: str) -> bool:
    """Whether a trial ran with the engine's version and on the instruction sets that are here."""
    is_same_version = record.version == (ENGINES[engine].installed_version() or "")
    return is_same_version and record.instruction_sets == list(read_processor().instruction_sets)

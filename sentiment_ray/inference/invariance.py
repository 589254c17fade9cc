"""Whether an engine gives a text the same bits in every batch: a trial of real texts, and what a bundle records of it.

Knows texts and manifests, and no files of a bundle.
"""

import math
from collections.abc import Sequence
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
from sentiment_ray.text.batching import PADDED_LENGTHS
from sentiment_ray.text.encoding import TextEncoder, encode

TEXTS_ALONE = 200
LONG_TEXTS = 32
"""Texts that are joined for a trial, so that it has texts of every length up to `max_tokens`."""
TEXTS_ON_CPU, TEXTS_ON_GPU = 300, 1000
"""Texts of a trial that no export made. On a CPU they take some seconds."""
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
    a GPU or a trial of rows that were padded to other lengths, the trial of texts is made here, once for each machine.
    """
    name, variant = choice
    recorded = manifest.variants[variant].gate.get(name, {}).get("batch_invariance")
    record = BatchInvariance.model_validate(recorded) if recorded else None
    if record and record.padded_lengths != PADDED_LENGTHS:
        record = None
    if record and record.differing:
        return False
    if not passes_short_trial(engine, encoder, tokens_per_batch=tokens_per_batch):
        return False
    if record and _is_of_this_machine(record, name) and tokens_per_batch <= record.tokens_per_batch:
        return True
    depends_on = [manifest.bundle_id, choice, tokens_per_batch, PADDED_LENGTHS, describe_machine(name)]
    result = read_cached(CACHE_KIND, depends_on) or {}
    if not isinstance(result.get("differing"), int):
        texts = make_trial_texts(
            TEXTS_ON_GPU if ENGINES[name].is_gpu else TEXTS_ON_CPU,
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
    return vars(trial) | {
        "version": version,
        "instruction_sets": list(processor.instruction_sets),
        "padded_lengths": PADDED_LENGTHS,
    }


def join_long_texts(encoder: TextEncoder, texts: Sequence[str]) -> list[str]:
    """Return texts that are joined of several others, the longest of `max_tokens` tokens, if no other is as long."""
    num_tokens = encode(encoder, texts).num_tokens
    if num_tokens.max() >= encoder.max_tokens:
        return []
    repeats = np.linspace(num_tokens.max(), 1.1 * encoder.max_tokens, LONG_TEXTS) / num_tokens.mean()
    return [" ".join(islice(cycle(texts), start, start + math.ceil(count))) for start, count in enumerate(repeats)]


def try_texts(
    engine: Engine,
    encoder: TextEncoder,
    texts: Sequence[str],
    *,
    tokens_per_batch: int,
    together: NDArray[np.float32] | None = None,
    alone: NDArray[np.float32] | None = None,
    stop_early: bool = False,
) -> Trial:
    """Score texts twice, each time in other company, and some of them alone; count those whose bits differ.

    `together` are the logits of all texts, float32 `(texts, labels)`, and `alone` those of the first ones, each scored
    alone; what is not given is computed, `alone` for TEXTS_ALONE texts of all lengths. Then the texts are scored in
    random pieces, as in other units, the largest in reverse in batches of a quarter of the size. With `stop_early` the
    trial ends at the first difference, and `differing` counts what was found until then.
    """
    encoded = encode(encoder, texts)
    if together is None:
        together = score_texts(engine, encoder, texts, tokens_per_batch=tokens_per_batch).logits
    differs = np.zeros(len(texts), dtype=np.bool_)
    calls = _cut_pieces(len(texts), tokens_per_batch)
    if alone is None:
        alone_indices = _choose_spread(encoded.num_tokens, TEXTS_ALONE)
        calls += [(np.array([index]), tokens_per_batch) for index in alone_indices]
    else:
        alone_indices = np.arange(len(alone))
        differs[alone_indices] = (alone != together[alone_indices]).any(axis=1)
    for indices, budget in calls:
        if stop_early and differs.any():
            break
        group = [texts[index] for index in indices]
        logits = score_texts(engine, encoder, group, tokens_per_batch=budget).logits
        differs[indices] |= (logits != together[indices]).any(axis=1)
    return Trial(
        texts=len(texts),
        texts_alone=len(alone_indices),
        longest=int(encoded.lengths.max()),
        tokens_per_batch=tokens_per_batch,
        differing=int(differs.sum()),
    )


def _cut_pieces(num_texts: int, tokens_per_batch: int) -> list[tuple[NDArray[np.intp], int]]:
    """Return the indices of the texts that are scored in one call, and the tokens of its batches; every text once."""
    order = np.random.default_rng(0).permutation(num_texts)
    *pieces, largest = np.split(order, (np.cumsum(PIECES) * num_texts).astype(np.intp))
    cut = [(piece, tokens_per_batch) for piece in pieces if len(piece)]
    return [*cut, (np.sort(largest)[::-1], max(1, tokens_per_batch // 4))]


def _choose_spread(num_tokens: NDArray[np.int32], count: int) -> NDArray[np.intp]:
    """Return the indices of `count` texts that are spread over all lengths, the shortest and the longest among them."""
    order = np.argsort(num_tokens, kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(np.intp))]


def _is_of_this_machine(record: BatchInvariance, engine: str) -> bool:
    """Whether a trial ran with the engine's version and on the instruction sets that are here."""
    is_same_version = record.version == (ENGINES[engine].installed_version() or "")
    return is_same_version and record.instruction_sets == list(read_processor().instruction_sets)

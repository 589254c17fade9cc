"""A short race between engines and variants on this machine, whose result is cached. Loads what its caller loads."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sentiment_ray.bundle.manifest import Manifest
from sentiment_ray.errors import first_line
from sentiment_ray.inference.choice import Pair
from sentiment_ray.inference.machine_cache import describe_machine, read_cached, write_cached
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.inference.trial_texts import make_trial_texts

logger = logging.getLogger(__name__)

RACE_TEXTS = 512
MAX_PASSES = 3
RACE_S = 0.5
"""Seconds after which no further pass over the texts begins."""
HOPELESS = 4.0
"""A candidate whose first pass takes this many times as long as the best one's is not measured again."""
CLEARLY_FASTER = 1.05
"""A later candidate wins only if it is this many times as fast as an earlier one; less could be noise."""
CACHE_KIND = "races"


@dataclass(frozen=True)
class RaceResult:
    """Texts per second of each candidate, and why the others could not be measured."""

    rates: dict[Pair, float] = field(default_factory=dict)
    refused: dict[Pair, str] = field(default_factory=dict)


class Scorer(Protocol):
    """What takes part in a race."""

    def score(self, texts: Sequence[str]) -> Scores:
        """Return the scores of texts."""
        ...


def run_race(
    manifest: Manifest, candidates: Sequence[Pair], load: Callable[[Pair], Scorer], *, threads: int | None
) -> RaceResult:
    """Return texts per second of each candidate, an engine and a variant, on texts as long as the bundle's reviews.

    A candidate is refused when `load` raises an error, as it does after a failed self-test, or when it cannot score.
    The result is taken from the cache of this machine if it is there. It is cached if no candidate was refused.
    """
    machine = describe_machine(*(engine for engine, _ in candidates))
    depends_on = [manifest.bundle_id, candidates, threads, machine]
    rates = _parse_rates(read_cached(CACHE_KIND, depends_on), candidates)
    if rates:
        return RaceResult(rates)
    refused: dict[Pair, str] = {}
    texts = make_trial_texts(RACE_TEXTS, max_tokens=manifest.max_tokens, reference=manifest.reference.get("tokens", {}))
    best_s: float | None = None
    for candidate in reversed(candidates):  # the CPU, which is probably the slowest, last
        try:
            seconds = _measure_pass(load(candidate), texts, best_s)
        except Exception as error:  # a GPU's libraries raise whatever they like; then another engine answers
            refused[candidate] = first_line(error)
            logger.warning("%s with %s cannot be used here: %s", candidate[1], candidate[0], error)
            continue
        rates[candidate] = len(texts) / seconds
        best_s = min(seconds, best_s or seconds)
    if not refused:
        named = {"/".join(candidate): round(rate, 1) for candidate, rate in rates.items()}
        write_cached(CACHE_KIND, depends_on, {"rows_per_s": named, "machine": machine})
    return RaceResult(rates, refused)


def pick_fastest(candidates: Sequence[Pair], rates: dict[Pair, float]) -> Pair:
    """Return the first candidate that is about as fast as the fastest, or the first one if none has a rate."""
    best = max(rates.values(), default=0.0)
    near = (candidate for candidate in candidates if rates.get(candidate, 0.0) * CLEARLY_FASTER >= best)
    return next(near)


def _measure_pass(scorer: Scorer, texts: Sequence[str], best_s: float | None) -> float:
    """Return the seconds of the fastest pass over the texts, after one that warms the engine up."""
    started = time.perf_counter()
    seconds = [_time_pass(scorer, texts)]
    if best_s is not None and seconds[0] > HOPELESS * best_s:
        return seconds[0]
    seconds.clear()
    while len(seconds) < MAX_PASSES and (not seconds or time.perf_counter() - started < RACE_S):
        seconds.append(_time_pass(scorer, texts))
    return min(seconds)


def _time_pass(scorer: Scorer, texts: Sequence[str]) -> float:
    started = time.perf_counter()
    scorer.score(texts)
    return max(time.perf_counter() - started, 1e-9)


def _parse_rates(cached: dict[str, Any] | None, candidates: Sequence[Pair]) -> dict[Pair, float]:
    """Return the rate of each candidate in a cached result, or nothing where one is missing or no number."""
    named = cached.get("rows_per_s") if cached else None
    if not isinstance(named, dict):
        return {}
    rates = {candidate: named.get("/".join(candidate)) for candidate in candidates}
    known = {candidate: rate for candidate, rate in rates.items() if isinstance(rate, float) and rate > 0}
    return known if len(known) == len(candidates) else {}

"""Chooses the file of a bundle, and how many batches are computed at once, by a short measurement that is cached."""

import logging
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sentiment_ray.bundle.manifest import Manifest
from sentiment_ray.engine_specs import get_batching
from sentiment_ray.errors import first_line
from sentiment_ray.inference.choice import Pair
from sentiment_ray.inference.machine_cache import describe_machine, read_cached, write_cached
from sentiment_ray.inference.race import CLEARLY_FASTER
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.inference.trial_texts import make_trial_texts

logger = logging.getLogger(__name__)

Goal = Literal["latency", "throughput"]

MAX_STREAMS = 8
MEASURE_S = 0.15
"""Seconds in which a candidate is measured."""
TRIAL_TEXTS = 64
TEXTS_PER_CALL = 16
"""Texts of a call when the throughput is measured, as they wait in a busy service."""
CACHE_KIND = "streams"


@dataclass(frozen=True)
class Setup:
    """An engine and a variant, and the number of its streams, which share the threads of the engine."""

    pair: Pair
    num_streams: int


class Scorer(Protocol):
    """What is measured; several threads may call it at once."""

    def score(self, texts: Sequence[str], *, tokens_per_batch: int | None = None) -> Scores:
        """Return the scores of texts, in batches of at most so many tokens."""
        ...


def choose_setup(
    manifest: Manifest, pairs: Sequence[Pair], goal: Goal, load: Callable[[Setup], Scorer], *, num_threads: int
) -> Setup:
    """Return the best of the `pairs`, which are sorted by their speed at the export, and the number of its streams.

    With the goal "latency" it is the setup that scores one text in the shortest time; with "throughput" the first pair,
    which jobs take too, with the number of streams that scores most texts a second in batches of a service. Nothing is
    measured where there is one candidate. A setup that cannot be loaded does not take part.
    """
    stream_counts = [count for count in range(1, min(num_threads, MAX_STREAMS) + 1) if num_threads % count == 0]
    rivals = _pick_rivals(manifest, pairs) if goal == "latency" else list(pairs[:1])
    if len(rivals) == len(stream_counts) == 1:
        return Setup(pairs[0], 1)
    machine = describe_machine(*(engine for engine, _ in rivals))
    depends_on = [manifest.bundle_id, rivals, goal, num_threads, machine]
    cached = _parse_setup(read_cached(CACHE_KIND, depends_on), rivals, stream_counts)
    if cached:
        return cached
    reference = manifest.reference.get("tokens", {})
    texts = make_trial_texts(TRIAL_TEXTS, max_tokens=manifest.max_tokens, reference=reference)
    pair = rivals[0] if len(rivals) == 1 else _pick_fastest([Setup(each, 1) for each in rivals], goal, load, texts).pair
    best = _pick_fastest([Setup(pair, count) for count in stream_counts], goal, load, texts)
    write_cached(CACHE_KIND, depends_on, {"pair": list(best.pair), "num_streams": best.num_streams})
    return best


def _pick_rivals(manifest: Manifest, pairs: Sequence[Pair]) -> list[Pair]:
    """Return the first pair of each engine with int8 and with another precision.

    They differ most, also from the machine of the export to this one. Files in fp32 and fp16 do not on a CPU, where an
    engine computes them alike.
    """
    rivals: dict[tuple[str, bool], Pair] = {}
    for engine, variant in pairs:
        rivals.setdefault((engine, manifest.variants[variant].precision == "int8"), (engine, variant))
    return list(rivals.values())


def _pick_fastest(
    candidates: Sequence[Setup], goal: Goal, load: Callable[[Setup], Scorer], texts: Sequence[str]
) -> Setup:
    """Return the first candidate that is about as fast as the fastest."""
    if len(candidates) == 1:
        return candidates[0]
    rates: dict[Setup, float] = {}
    for setup in candidates:
        try:
            scorer = load(setup)
            rates[setup] = _measure_latency(scorer, texts) if goal == "latency" else _measure_load(scorer, setup, texts)
        except Exception as error:
            logger.warning(
                "%s with %d streams cannot be used here: %s", setup.pair, setup.num_streams, first_line(error)
            )
    best = max(rates.values(), default=0.0)
    return next((setup for setup in candidates if rates.get(setup, 0.0) * CLEARLY_FASTER >= best), candidates[0])


def _measure_latency(scorer: Scorer, texts: Sequence[str]) -> float:
    """Return calls a second of one text, from the median of their times; each text is scored once before."""
    for text in texts:
        scorer.score([text])
    times_s: list[float] = []
    end_s = time.perf_counter() + MEASURE_S
    while time.perf_counter() < end_s or len(times_s) < len(texts):
        begun_s = time.perf_counter()
        scorer.score([texts[len(times_s) % len(texts)]])
        times_s.append(time.perf_counter() - begun_s)
    return 1 / max(statistics.median(times_s), 1e-9)


def _measure_load(scorer: Scorer, setup: Setup, texts: Sequence[str]) -> float:
    """Return texts a second when a thread for each stream makes calls of texts of about one length."""
    budget = get_batching(setup.pair[0]).serving_tokens_per_batch
    ordered = sorted(texts, key=len)
    calls = [ordered[start : start + TEXTS_PER_CALL] for start in range(0, len(ordered), TEXTS_PER_CALL)]
    ready = threading.Barrier(setup.num_streams)

    def measure(_: int) -> float:
        try:
            for call in calls:
                scorer.score(call, tokens_per_batch=budget)
        except Exception:
            ready.abort()
            raise
        ready.wait()
        begun_s, count = time.perf_counter(), 0
        while time.perf_counter() < begun_s + MEASURE_S:
            for call in calls:
                scorer.score(call, tokens_per_batch=budget)
                count += len(call)
        return count / (time.perf_counter() - begun_s)

    with ThreadPoolExecutor(setup.num_streams) as executor:
        return sum(executor.map(measure, range(setup.num_streams)))


def _parse_setup(cached: dict[str, Any] | None, pairs: Sequence[Pair], stream_counts: Sequence[int]) -> Setup | None:
    """Return the setup of a cached result, or None where it is not one of the candidates."""
    named = (cached or {}).get("pair"), (cached or {}).get("num_streams")
    candidates = (Setup(pair, count) for pair in pairs for count in stream_counts)
    return next((setup for setup in candidates if named == (list(setup.pair), setup.num_streams)), None)

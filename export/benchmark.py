"""Measures how fast engines run the files that passed, in turns, and chooses the default. Knows no gate."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentiment_ray.inference.engines import Engine, load_engine
from sentiment_ray.inference.scoring import score_texts
from sentiment_ray.text.encoding import TextEncoder

BENCH_TEXTS = 256
ROUNDS = 3
CLOSE_RATIO = 0.5
"""Pairs with at least this share of the best rate are measured again."""
CLEARLY_FASTER = 1.05
"""A less exact file becomes the default only if it is this many times as fast; less could be noise."""

Pair = tuple[str, str]
"""Names of a variant and an engine."""


def measure_rate(engine: Engine, encoder: TextEncoder, texts: Sequence[str]) -> float:
    """Return texts per second of one pass. The engine should have scored the same texts before, to be warm."""
    started = time.perf_counter()
    score_texts(engine, encoder, texts)
    return len(texts) / (time.perf_counter() - started)


def measure_in_turns(
    rates: dict[Pair, float], files: dict[str, Path], encoder: TextEncoder, texts: Sequence[str], threads: int | None
) -> dict[Pair, dict[str, Any]]:
    """Measure the fastest pairs again, in turns so that noise hits all of them, and return the median rate of each."""
    close = [pair for pair, rate in rates.items() if rate >= CLOSE_RATIO * max(rates.values())]
    engines = {
        (name, kind): load_engine(kind, files[name].read_bytes(), threads=threads, source=files[name])
        for name, kind in close
    }
    for engine in engines.values():
        score_texts(engine, encoder, texts)  # warm-up: an engine compiles and allocates for each new shape
    measured: dict[Pair, list[float]] = {pair: [] for pair in close}
    for _ in range(ROUNDS):
        for pair, engine in engines.items():
            measured[pair].append(measure_rate(engine, encoder, texts))
    return {
        pair: {"rows_per_s": round(statistics.median(values), 1), "slowest": round(min(values), 1), "rounds": ROUNDS}
        for pair, values in measured.items()
    }


def choose_default(rates: dict[Pair, float], exactness: Sequence[str]) -> Pair:
    """Return the fastest pair, or the most exact of those that are nearly as fast.

    `exactness` lists the variants, the most exact first.
    """
    best = max(rates.values())
    near = [pair for pair, rate in rates.items() if rate * CLEARLY_FASTER >= best]
    return min(near, key=lambda pair: (exactness.index(pair[0]), -rates[pair]))

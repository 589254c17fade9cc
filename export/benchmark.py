"""How fast engines run the files that passed, measured in turns, and which is the default; knows no gate."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentiment_ray.inference.engines import Engine, load_engine
from sentiment_ray.inference.predictor import score_texts
from sentiment_ray.text.encoding import TextEncoder

BENCH_TEXTS = 256
ROUNDS = 3
IN_REACH = 0.5
"""Share of the best rate from which a pair of file and engine is measured again beside the best."""
CLEARLY_FASTER = 1.05
"""How much faster a less exact file must be to be the default; less than that is the machine's noise."""

Pair = tuple[str, str]


def rate_of(engine: Engine, encoder: TextEncoder, texts: Sequence[str]) -> float:
    """Return texts a second of a pass over texts that the engine has met before."""
    started = time.perf_counter()
    score_texts(engine, encoder, texts)
    return len(texts) / (time.perf_counter() - started)


def race(
    rates: dict[Pair, float], files: dict[str, Path], encoder: TextEncoder, texts: Sequence[str], threads: int | None
) -> dict[Pair, dict[str, Any]]:
    """Measure the fastest pairs of variant and engine again, in turns, and return the median rate of each."""
    close = [pair for pair, rate in rates.items() if rate >= IN_REACH * max(rates.values())]
    engines = {
        (name, kind): load_engine(kind, files[name].read_bytes(), threads=threads, source=files[name])
        for name, kind in close
    }
    for engine in engines.values():
        score_texts(engine, encoder, texts)  # engines compile and allocate for each shape that they meet
    found: dict[Pair, list[float]] = {pair: [] for pair in close}
    for _ in range(ROUNDS):
        for pair, engine in engines.items():
            found[pair].append(rate_of(engine, encoder, texts))
    return {
        pair: {"rows_per_s": round(statistics.median(values), 1), "slowest": round(min(values), 1), "rounds": ROUNDS}
        for pair, values in found.items()
    }


def default_of(rates: dict[Pair, float], exactness: Sequence[str]) -> Pair:
    """Return the pair to load: the fastest, unless a more exact file, earlier in `exactness`, is nearly as fast."""
    best = max(rates.values())
    near = [pair for pair, rate in rates.items() if rate * CLEARLY_FASTER >= best]
    return min(near, key=lambda pair: (exactness.index(pair[0]), -rates[pair]))

"""Measures a bundle without HTTP: `serve_in_process.py BUNDLE TEXTS SECONDS` prints one JSON line."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import uvicorn

from sentiment_ray import AsyncPredictor, Predictor
from sentiment_ray.config.shell import print_result

NUM_CALLERS = 32


def main() -> None:
    """Measure single calls of Predictor.score, then 32 callers of AsyncPredictor at once."""
    bundle, texts, seconds = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), float(sys.argv[3])
    predictor = Predictor.load(bundle, threads=1, optimize_for="throughput")
    times_s = _time_calls(predictor, texts, seconds)
    with asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:
        rate = runner.run(_measure_callers(predictor, texts, seconds))
    print_result({"p50_ms": 1000 * float(np.median(times_s)), "answers_per_s": rate})


def _time_calls(predictor: Predictor, texts: Sequence[str], seconds: float) -> list[float]:
    """Return the seconds of each call; each text is scored once before."""
    for text in texts[:200]:
        predictor.score([text])
    times_s: list[float] = []
    end_s = time.perf_counter() + seconds
    for text in cycle(texts):
        begun_s = time.perf_counter()
        predictor.score([text])
        times_s.append(time.perf_counter() - begun_s)
        if begun_s > end_s:
            break
    return times_s


async def _measure_callers(predictor: Predictor, texts: Sequence[str], seconds: float) -> float:
    """Return calls a second."""
    async with AsyncPredictor(predictor) as answering:
        await answering.warm_up(seconds=30)
        waiting, num_calls = cycle(texts), 0
        begun_s = time.perf_counter()

        async def call() -> None:
            nonlocal num_calls
            while time.perf_counter() < begun_s + seconds:
                await answering.score([next(waiting)])
                num_calls += 1

        await asyncio.gather(*(call() for _ in range(NUM_CALLERS)))
        return num_calls / (time.perf_counter() - begun_s)


if __name__ == "__main__":
    main()

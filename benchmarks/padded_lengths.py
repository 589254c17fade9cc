"""Compares the lengths to which rows may be padded: for a job, and for a service in process with 1 and 32 clients.

All take turns in one process with one thread of the engine. Figures are texts for each second of the processor's time,
which other work on the machine disturbs less than the time of the clock.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import click
import numpy as np
from harness import Result, machine, spread
from numpy.typing import NDArray
from pyarrow import parquet

from sentiment_ray import AsyncPredictor, Predictor
from sentiment_ray.config.shell import print_result, run
from sentiment_ray.inference.admission import QueueLimits
from sentiment_ray.text import batching
from sentiment_ray.text.encoding import encode

GRIDS = {"1/2/4/8": ((48, 1), (96, 2), (192, 4)), "2/4/8": ((48, 2), (96, 4)), "4/8": ((96, 4),), "8": ()}
"""Below a length, rows are padded to multiples of a number; longer ones to multiples of 8."""
NUM_TEXTS = 600
CLIENTS = (1, 32)


@click.command(epilog="\b\nExample:\n  python benchmarks/padded_lengths.py --bundle runs/demo/bundle")
@click.option("--bundle", required=True, type=click.Path(exists=True, file_okay=False))
@click.option("--samples", default="data/samples", type=click.Path(exists=True, path_type=Path), show_default=True)
@click.option("--rounds", default=10, show_default=True)
def main(bundle: str, samples: Path, rounds: int) -> None:
    """Measure all in turns and print one JSON line; ratios are those to the first grid in the same round."""
    predictor = Predictor.load(bundle, threads=1)
    names = ("sentences.parquet", "tweets.parquet")
    texts = [
        text for name in names for text in parquet.read_table(samples / name)["text"].to_pylist()[: NUM_TEXTS // 2]
    ]
    np.random.default_rng(0).shuffle(texts)
    results: dict[str, list[Result]] = {grid: [] for grid in GRIDS}
    for number in range(rounds + 1):  # the first one warms up
        for grid in GRIDS if number % 2 else reversed(GRIDS):
            with mock.patch.object(batching, "round_up_lengths", _make_rounding(GRIDS[grid])):
                figures = _measure(predictor, texts)
            results[grid] += [figures] if number else []
    first = results[next(iter(GRIDS))]
    print_result({"machine": machine(), "rounds": rounds, "texts": len(texts), "grids": {
        grid: {name: {"rate": spread([row[name] for row in rows]),
                      "ratio": spread([row[name] / base[name] for row, base in zip(rows, first, strict=True)])}
               for name in first[0] if name != "rows_per_batch"}
        | {"rows_per_batch": spread([row["rows_per_batch"] for row in rows]),
           "padding": _count_padding(predictor, texts, GRIDS[grid])}
        for grid, rows in results.items()
    }})  # fmt: skip


def _make_rounding(limits: tuple[tuple[int, int], ...]) -> Callable[..., NDArray[np.int32]]:
    def round_up_lengths(lengths: NDArray[np.int32], *, max_tokens: int) -> NDArray[np.int32]:
        conditions, multiples = [lengths < limit for limit, _ in limits], [multiple for _, multiple in limits]
        steps = np.select(conditions, multiples, default=8) if limits else 8
        return np.minimum(-(-lengths // steps) * steps, np.maximum(lengths, max_tokens)).astype(np.int32)

    return round_up_lengths


def _count_padding(predictor: Predictor, texts: list[str], limits: tuple[tuple[int, int], ...]) -> float:
    lengths = encode(predictor.encoder, texts).lengths
    padded = _make_rounding(limits)(lengths, max_tokens=predictor.encoder.max_tokens)
    return round(float(padded.sum() / lengths.sum()) - 1, 4)


def _measure(predictor: Predictor, texts: list[str]) -> Result:
    begun_s = time.process_time()
    predictor.score(texts)
    figures: Result = {"job": len(texts) / (time.process_time() - begun_s)}
    for num_clients in CLIENTS:
        answered = texts if num_clients > 1 else texts[: NUM_TEXTS // 4]
        figures[f"c={num_clients}"], rows_per_batch = asyncio.run(_serve(predictor, answered, num_clients))
    return figures | {"rows_per_batch": rows_per_batch}


async def _serve(predictor: Predictor, texts: list[str], num_clients: int) -> tuple[float, float]:
    """Return texts for each second of the processor, and rows of a batch, of clients that ask again when answered."""
    answering = AsyncPredictor(predictor, limits=QueueLimits(max_wait_s=60))
    await answering.warm_up(seconds=30)
    waiting: Iterator[str] = iter(texts)

    async def ask() -> None:
        for text in waiting:
            await answering.score([text])

    begun_s = time.process_time()
    await asyncio.gather(*(ask() for _ in range(num_clients)))
    rate = len(texts) / (time.process_time() - begun_s)
    statistics = answering.read_statistics()
    answering.close()
    return rate, statistics.rows / statistics.batches


if __name__ == "__main__":
    run(main)

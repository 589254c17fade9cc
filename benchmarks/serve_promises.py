"""Measures what is promised of the service itself: first requests, neighbours, overhead, slow clients, memory.

The service has one core, the load another. Each command prints one JSON line. README.md in this directory has examples.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread
from typing import Any

import click
import numpy as np
from harness import ROOT, Bench, Result, spread
from load_generator import Load, run_load
from numpy.typing import NDArray
from serve_contenders import OURS
from serve_running import read_texts, run_wrk, started, take_core

from sentiment_ray import Predictor
from sentiment_ray.config.shell import print_result, run

HERE = Path(__file__).parent
LATER_REQUESTS = 15
MAX_FIRST_SHARE = 1.5
"""The first request of a length shall take at most so many times the p50 of its length."""
NUM_NEIGHBOUR_TEXTS = 1000
SINGLE_PERIOD_S = 0.02
MEMORY_PERIOD_S = 60.0
folder = click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True)


@click.group()
@click.option("--bundle", required=True, type=folder, help="Bundle that export_bundle wrote.")
@click.option("--samples", default="data/samples", type=folder, show_default=True, help="What fetch_samples wrote.")
@click.option("--workdir", default="runs/benchmarks", type=Path, show_default=True, help="Directory for logs.")
@click.pass_context
def main(context: click.Context, bundle: Path, samples: Path, workdir: Path) -> None:
    """Measure one promise of the service."""
    bench = Bench(workdir.resolve(), bundle, bundle, 1, 600.0)
    (bench.workdir / "serving").mkdir(parents=True, exist_ok=True)
    link = bench.interpreter_path(OURS.environment)
    if not link.exists():  # the interpreter of this process, where `serve_vs_peers.py prepare` was not run
        link.parent.mkdir(parents=True)
        link.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        link.chmod(0o755)
    context.obj = Setup(bench, read_texts(bench, samples)[0], take_core())


@dataclass(frozen=True)
class Setup:
    """The bundle, texts of about 25 tokens, and the core of the service."""

    bench: Bench
    texts: list[str]
    core: int

    @contextmanager
    def serve(self) -> Iterator[int]:
        """Start the service and yield its port."""
        with started(self.bench, OURS, {"bundle": self.bench.bundle, "threads": 1}, self.core) as (port, _):
            yield port


class _Client:
    """A client with one connection, which measures times in ms."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, inputs: Any) -> float:
        """Send texts and return the time until the answer was read."""
        body = json.dumps({"inputs": inputs})
        begun_s = time.perf_counter()
        self._connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"status {response.status}")
        return 1000 * (time.perf_counter() - begun_s)


@main.command()
@click.option("--rounds", default=5, show_default=True, help="Starts of the service.")
@click.pass_obj
def first_requests(setup: Setup, rounds: int) -> None:
    """Compare the first request of each length with later ones of its length.

    The lengths come in random order, again and again. So the first request and the later ones all follow a request of
    another length, for which an engine prepares itself anew.
    """
    encoder = Predictor.load(setup.bench.bundle, threads=1).encoder
    texts = {count: "good " * (count - 2) for count in range(3, encoder.max_tokens + 1, 3)}
    lengths = sorted(texts)
    times_ms = np.empty((rounds, 1 + LATER_REQUESTS, len(lengths)))
    again_ms = np.empty((rounds, len(lengths)))
    for number in range(rounds):
        generator = random.Random(number)
        with setup.serve() as port:
            client = _Client(port)
            for _ in range(50):
                client.ask("This is a cherry pie.")
            for turn in times_ms[number]:
                for index in generator.sample(range(len(lengths)), len(lengths)):
                    turn[index] = client.ask(texts[lengths[index]])
            for index, count in enumerate(lengths):
                again_ms[number, index] = np.median([client.ask(texts[count]) for _ in range(LATER_REQUESTS)])
    p50_ms = np.median(times_ms[:, 1:], axis=1)
    first, later = times_ms[:, 0] / p50_ms, times_ms[:, 1:] / p50_ms[:, None]
    print_result(
        {
            "lengths": len(lengths),
            "largest_median_of_a_length": round(float(np.median(first, axis=0).max()), 3),
            "first": _summarise_shares(first),
            "later": _summarise_shares(later),
            "ms_less_after_a_request_of_the_same_length": round(float(np.median(p50_ms - again_ms)), 2),
        }
    )


def _summarise_shares(shares: NDArray[np.float64]) -> Result:
    """Return percentiles of the times of requests as shares of the p50 of their length."""
    percentiles = [round(float(value), 3) for value in np.percentile(shares, [50, 90, 99, 100])]
    is_above = shares > MAX_FIRST_SHARE
    return {"p50_p90_p99_max": percentiles, "measured": shares.size, "above_1.5": round(float(is_above.mean()), 4)}


@main.command()
@click.option("--seconds", default=20.0, show_default=True, help="Length of each load.")
@click.pass_obj
def neighbour(setup: Setup, seconds: float) -> None:
    """Measure single texts with and without a neighbour that sends 1,000 texts at a time."""
    texts = setup.texts
    many = (texts * NUM_NEIGHBOUR_TEXTS)[:NUM_NEIGHBOUR_TEXTS]
    with setup.serve() as port:
        alone = _measure_singles(port, texts, seconds)
        is_over, num_calls = Event(), 0

        def send() -> None:
            nonlocal num_calls
            client = _Client(port)
            while not is_over.is_set():
                client.ask(many)
                num_calls += 1

        sending = Thread(target=send)
        sending.start()
        time.sleep(1)
        beside = _measure_singles(port, texts, seconds)
        is_over.set()
        sending.join()
        batch_ms = [_Client(port).ask(texts[:16]) for _ in range(30)]
    print_result(
        {
            "alone": alone,
            "beside": beside,
            "calls_of_1000": num_calls,
            "request_of_16_ms": round(float(np.median(batch_ms)), 2),
        }
    )


def _measure_singles(port: int, texts: list[str], seconds: float) -> Result:
    """Return percentiles of the times of single texts that come at random times."""
    bodies = [OURS.encode(text) for text in texts]
    return asyncio.run(run_load(Load(1 / SINGLE_PERIOD_S, seconds, bodies, OURS.path), host="127.0.0.1", port=port))


@main.command()
@click.option("--rounds", default=5, show_default=True, help="Rounds in turns.")
@click.option("--seconds", default=3.0, show_default=True, help="Length of each load.")
@click.pass_obj
def overhead(setup: Setup, rounds: int, seconds: float) -> None:
    """Compare the service with Predictor.score and AsyncPredictor in a process on the same core."""
    texts = setup.texts
    figures: dict[str, list[float]] = {}
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as bodies, tempfile.NamedTemporaryFile("w") as file:
        bodies.writelines(OURS.encode(text).decode() + "\n" for text in texts)
        bodies.flush()
        json.dump(texts, file)
        file.flush()
        for _ in range(rounds):
            with setup.serve() as port:
                run_wrk(OURS, port, bodies.name, "8", 2.0)
                one = run_wrk(OURS, port, bodies.name, "1", seconds)
                many = run_wrk(OURS, port, bodies.name, "32", seconds)
            inside = _run_in_process(setup, Path(file.name), seconds)
            for name, value in (
                ("added_ms", one["p50_ms"] - inside["p50_ms"]),
                ("http_p50_ms", one["p50_ms"]),
                ("score_p50_ms", inside["p50_ms"]),
                ("http_per_s", many["answers_per_s"]),
                ("in_process_per_s", inside["answers_per_s"]),
                ("http_share", many["answers_per_s"] / inside["answers_per_s"]),
            ):
                figures.setdefault(name, []).append(value)
    print_result({name: spread(values) for name, values in figures.items()})


def _run_in_process(setup: Setup, texts: Path, seconds: float) -> Result:
    command = ["taskset", "-c", str(setup.core), sys.executable, str(HERE / "serve_in_process.py")]
    command += [str(setup.bench.bundle), str(texts), str(seconds)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


@main.command()
@click.option("--seconds", default=10.0, show_default=True, help="Length of each load.")
@click.option("--num-slow", default=200, show_default=True, help="Clients that send and read slowly.")
@click.pass_obj
def slow_clients(setup: Setup, seconds: float, num_slow: int) -> None:
    """Measure single texts with and without many clients that send a byte at a time and do not read."""
    texts = setup.texts
    with setup.serve() as port:
        alone = _measure_singles(port, texts, seconds)
        beside = asyncio.run(_measure_beside_slow_clients(port, texts, seconds, num_slow))
    print_result({"alone": alone, "beside": beside, "slow_clients": num_slow})


async def _measure_beside_slow_clients(port: int, texts: list[str], seconds: float, num_slow: int) -> Result:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10000\r\n\r\n"

    async def dawdle(number: int) -> None:
        while True:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            for byte in (head + b" " * 1000)[number % len(head) :]:
                if writer.is_closing():
                    break
                writer.write(bytes([byte]))
                await asyncio.sleep(0.2)
            writer.close()

    dawdling = [asyncio.create_task(dawdle(number)) for number in range(num_slow)]
    await asyncio.sleep(0.5)
    bodies = [OURS.encode(text) for text in texts]
    result = await run_load(Load(1 / SINGLE_PERIOD_S, seconds, bodies, OURS.path), host="127.0.0.1", port=port)
    for task in dawdling:
        task.cancel()
    return result


@main.command()
@click.option("--minutes", default=60.0, show_default=True, help="Length of the load.")
@click.option("--busy", default=0.1, show_default=True, help="Share of a core that the load shall take.")
@click.pass_obj
def memory(setup: Setup, minutes: float, busy: float) -> None:
    """Measure the memory of the service under a mixed load, once a minute."""
    texts = setup.texts
    with setup.serve() as port:
        pid = _find_process(port)
        generator, begun_s = random.Random(0), time.perf_counter()
        kinds = list(_list_requests(texts, generator))
        rss_mib: list[float] = []
        while (now_s := time.perf_counter() - begun_s) < 60 * minutes:
            if now_s >= MEMORY_PERIOD_S * len(rss_mib):
                rss_mib.append(_read_rss_mib(pid))
                click.echo(f"{now_s:.0f} s: {rss_mib[-1]:.1f} MiB", err=True)
            spent_s = time.perf_counter()
            generator.choice(kinds)(port)
            time.sleep((time.perf_counter() - spent_s) * (1 / busy - 1))
        rss_mib.append(_read_rss_mib(pid))
    after_warm_up = rss_mib[min(2, len(rss_mib) - 1)]
    print_result(
        {
            "minutes": minutes,
            "rss_mib": rss_mib,
            "growth_after_two_minutes": round(rss_mib[-1] / after_warm_up - 1, 4),
        }
    )


def _list_requests(texts: list[str], generator: random.Random) -> Iterator[Callable[[int], object]]:
    """Yield functions that each send one request of a mixed load, ordinary ones several times."""
    for count in (1, 1, 1, 1, 2, 8, 30):
        yield lambda port, count=count: _Client(port).ask(generator.sample(texts, count))
    yield lambda port: _Client(port).ask(" ".join(generator.sample(texts, 20)))
    yield lambda port: _send_raw(port, b'{"inputs": ')
    yield lambda port: _send_raw(port, b'{"inputs": "' + b"x" * 500_000 + b'"}')
    yield lambda port: _send_raw(port, b'{"inputs": 1}')
    yield _leave_early


def _send_raw(port: int, body: bytes) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
    connection.getresponse().read()
    connection.close()


def _leave_early(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/predict", b'{"inputs": "tea"}', {"Content-Type": "application/json"})
    connection.close()


def _find_process(port: int) -> int:
    """Return the id of the process that listens on a port of this machine."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inode = next(line[9] for line in lines if line[1].endswith(f":{port:04X}") and line[3] == "0A")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == f"socket:[{inode}]":
                return int(link.parts[2])
        except OSError:
            continue
    raise RuntimeError(f"no process listens on port {port}")


def _read_rss_mib(pid: int) -> float:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return round(int(line.split()[1]) / 1024, 1)


if __name__ == "__main__":
    run(main)

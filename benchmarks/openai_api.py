"""Compares chats of `sentiment-ray openai-api` with /predict of `sentiment-ray serve` on one bundle, in turns.

Both services share one core, and the load has another. One client asks each in turn; then 16 clients ask one service
after the other. Each figure is the middle of several rounds.
"""

import asyncio
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from harness import Result, machine
from load_generator import Connection
from serve_running import take_core

from sentiment_ray.config.shell import print_result, run
from sentiment_ray.openai_api.base_models import BaseModels
from sentiment_ray.openai_api.config import OpenAiApiConfig

MODEL = "base"
TEXTS = (
    "This is a cherry pie.",
    "The delivery took three weeks, and when the box came at last, half of it was broken and nobody answered.",
    "I have used it every day for a year now and would buy it again without any doubt.",
    "It is blue and has four wheels.",
)
START_LIMIT_S = 120.0
MANY_CLIENTS = 16
WARM_UP = 100


@dataclass(frozen=True)
class Endpoint:
    """What is asked: a port, a path, and how the body is made of a text."""

    name: str
    port: int
    path: str
    bodies: Sequence[bytes]
    headers: str = ""

    def connect(self) -> Connection:
        """Return a new connection."""
        return Connection("127.0.0.1", self.port, headers=self.headers)


@click.command(epilog="\b\nExample:\n  python benchmarks/openai_api.py --bundle runs/demo/bundle")
@click.option("--bundle", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rounds", default=10, show_default=True, help="Rounds; one client asks each endpoint once a turn.")
@click.option("--requests", default=200, show_default=True, help="Requests of a round to each endpoint.")
@click.option("--seconds", default=3.0, show_default=True, help="How long 16 clients ask a service in a round.")
def main(bundle: Path, rounds: int, requests: int, seconds: float) -> None:
    """Measure both services in turns and print one JSON line."""
    core = take_core()
    with tempfile.TemporaryDirectory() as work, _serve(bundle, Path(work), core) as endpoints:
        result = asyncio.run(_measure(endpoints, rounds, requests, seconds))
    print_result({"machine": machine(), "rounds": rounds, **result})


@contextmanager
def _serve(bundle: Path, work: Path, core: int) -> Iterator[list[Endpoint]]:
    """Start both services on a core and yield what is asked of them."""
    config = OpenAiApiConfig(state=str(work / "state"), models={MODEL: str(bundle)})
    copied = BaseModels(config, work / "state").find_bundle(MODEL)  # so that nothing is exported
    shutil.copytree(bundle, copied)
    file = work / "openai_api.toml"
    file.write_text(
        f"[openai_api]\nstate = {json.dumps(config.state)}\nmodels = {{ {MODEL} = {json.dumps(str(bundle))} }}\n"
    )
    ours = [sys.executable, "-c", "from sentiment_ray.cli import main; main()"]
    created = [*ours, "openai-api", "keys", "create", "--config", str(file), "--project", "benchmark"]
    key = subprocess.run(created, capture_output=True, text=True, check=True).stdout.strip()
    ports = [_find_port(), _find_port()]
    commands = (
        [*ours, "serve", str(bundle), "--threads", "1", "--port", str(ports[0])],
        [*ours, "openai-api", "serve", "--config", str(file), "--port", str(ports[1])],
    )
    started = [
        subprocess.Popen(["taskset", "-c", str(core), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        _wait_for(ports)
        yield _list_endpoints(ports, key)
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def _list_endpoints(ports: Sequence[int], key: str) -> list[Endpoint]:
    headers = f"\r\nAuthorization: Bearer {key}"
    chats = [{"model": MODEL, "messages": [{"role": "user", "content": text}]} for text in TEXTS]
    chat_path = "/v1/chat/completions"
    return [
        Endpoint("predict", ports[0], "/predict", [json.dumps({"inputs": text}).encode() for text in TEXTS]),
        Endpoint("chat", ports[1], chat_path, [json.dumps(chat).encode() for chat in chats], headers),
        Endpoint(
            "stream", ports[1], chat_path, [json.dumps(chat | {"stream": True}).encode() for chat in chats], headers
        ),
    ]


async def _measure(endpoints: list[Endpoint], rounds: int, requests: int, seconds: float) -> dict[str, Any]:
    connections = [endpoint.connect() for endpoint in endpoints]
    for endpoint, connection in zip(endpoints, connections, strict=True):
        for _ in range(WARM_UP):
            assert await connection.post(endpoint.path, endpoint.bodies[0]) == 200
    p50_ms: dict[str, list[float]] = {endpoint.name: [] for endpoint in endpoints}
    rates: dict[str, list[float]] = {endpoint.name: [] for endpoint in endpoints[:2]}
    for number in range(rounds):
        times_ms = await _ask_in_turns(endpoints, connections, requests)
        for name, values in times_ms.items():
            p50_ms[name].append(float(np.median(values)))
        for endpoint in endpoints[:2] if number % 2 else endpoints[1::-1]:
            rates[endpoint.name].append(await _ask_together(endpoint, seconds))
    for connection in connections:
        connection.close()
    return _compare(p50_ms, rates)


async def _ask_in_turns(
    endpoints: list[Endpoint], connections: list[Connection], requests: int
) -> dict[str, list[float]]:
    """Return the times in ms until each answer, or the first byte of each stream."""
    times_ms: dict[str, list[float]] = {endpoint.name: [] for endpoint in endpoints}
    generator = random.Random(0)
    pairs = list(zip(endpoints, connections, strict=True))
    for number in range(requests):
        for turn, (endpoint, connection) in enumerate(generator.sample(pairs, len(pairs))):
            body = endpoint.bodies[(number + turn) % len(TEXTS)]  # an engine is faster with the length it had last
            begun_s = time.perf_counter()
            status = await connection.post(endpoint.path, body)
            ended_s = connection.first_byte_s if endpoint.name == "stream" else time.perf_counter()
            assert status == 200, status
            times_ms[endpoint.name].append(1000 * (ended_s - begun_s))
    return times_ms


async def _ask_together(endpoint: Endpoint, seconds: float) -> float:
    """Return the answers a second when several clients ask, each again as soon as it has an answer."""
    deadline_s = time.perf_counter() + seconds
    counts = [0] * MANY_CLIENTS

    async def ask(client: int) -> None:
        connection = endpoint.connect()
        while time.perf_counter() < deadline_s:
            assert await connection.post(endpoint.path, endpoint.bodies[counts[client] % len(TEXTS)]) == 200
            counts[client] += 1
        connection.close()

    await asyncio.gather(*(ask(client) for client in range(MANY_CLIENTS)))
    return sum(counts) / seconds


def _compare(p50_ms: dict[str, list[float]], rates: dict[str, list[float]]) -> Result:
    """Return the middle of all rounds, and of the differences within each round."""
    added = {
        name: round(float(np.median(np.subtract(p50_ms[name], p50_ms["predict"]))), 3) for name in ("chat", "stream")
    }
    return {
        "p50_ms": {name: round(float(np.median(values)), 3) for name, values in p50_ms.items()},
        "added_ms": added,
        "rows_per_s": {name: round(float(np.median(values)), 1) for name, values in rates.items()},
        "rate_ratio": round(float(np.median(np.divide(rates["chat"], rates["predict"]))), 3),
    }


def _find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(ports: Sequence[int]) -> None:
    deadline_s = time.perf_counter() + START_LIMIT_S
    for port in ports:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.perf_counter() > deadline_s:
                    raise
                time.sleep(0.05)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    run(main)

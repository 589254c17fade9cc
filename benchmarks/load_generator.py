"""Asks an HTTP service at times that are fixed beforehand, so that a slow answer delays no other request.

A closed loop asks again when it has an answer, and so leaves out the waiting of the requests that a slow server would
have got meanwhile (coordinated omission). Here each latency counts from the time at which its request was due.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

GRACE_S = 10.0
"""How long answers are awaited after the last request was due."""


@dataclass
class Load:
    """The requests of one run, in the order in which they are due, and their answers."""

    rate: float
    seconds: float
    bodies: Sequence[bytes]
    path: str
    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)


class Connection:
    """One connection that is kept open; `headers` are more lines of each request's head, each after a line break."""

    def __init__(self, host: str, port: int, *, headers: str = "") -> None:
        self._address = host, port
        self._headers = headers
        self.first_byte_s = 0.0
        """When the first byte of the last answer's body was read, on the clock of `perf_counter`."""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> int:
        """Send a body and return the status of the answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        try:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            writer.write(f"{head}{self._headers}".encode() + b"\r\n\r\n" + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(min(length, 1))
            self.first_byte_s = time.perf_counter()
            await reader.readexactly(max(length - 1, 0))
            if b"connection: close" in answer:
                self.close()
            return int(answer[9:12])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._streams:
            self._streams[1].close()
        self._streams = None


async def run_load(load: Load, *, host: str, port: int) -> dict[str, Any]:
    """Send requests at random times, a Poisson process of `rate`, and return the statuses and latencies in ms."""
    generator = random.Random(0)
    idle: list[Connection] = []
    tasks: set[asyncio.Task[None]] = set()
    start_s = due_s = time.perf_counter()

    async def ask(body: bytes, due_s: float) -> None:
        connection = idle.pop() if idle else Connection(host, port)
        try:
            status = str(await connection.post(load.path, body))
            idle.append(connection)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            status = type(error).__name__
        load.statuses[status] += 1
        if status == "200":
            load.latencies_s.append(time.perf_counter() - due_s)

    number = 0
    while (due_s := due_s + generator.expovariate(load.rate)) < start_s + load.seconds:
        if (wait_s := due_s - time.perf_counter()) > 0:
            await asyncio.sleep(wait_s)
        task = asyncio.create_task(ask(load.bodies[number % len(load.bodies)], due_s))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=GRACE_S)
        load.statuses["no answer"] += len(late)
        for task in late:
            task.cancel()
    for connection in idle:
        connection.close()
    return summarise(load)


def summarise(load: Load) -> dict[str, Any]:
    """Return the statuses of a load, and the middle and the 99th percentile of the latencies of status 200 in ms."""
    p50, p99 = (1000 * np.percentile(load.latencies_s, [50, 99])) if load.latencies_s else (None, None)
    return {
        "rate": load.rate,
        "statuses": {name: count for name, count in load.statuses.items() if count},
        "answers_per_s": round(len(load.latencies_s) / load.seconds, 1),
        "p50_ms": None if p50 is None else round(float(p50), 2),
        "p99_ms": None if p99 is None else round(float(p99), 2),
    }

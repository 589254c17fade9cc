"""Latencies of an open loop count from the time at which a request was due, whatever the service does meanwhile."""

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from load_generator import Load, run_load

STALL_S = 0.3


async def _run(load: Load, *, stall_after: int | None = None, status: bytes = b"200 OK") -> dict[str, object]:
    """Run a load against a service that answers at once, but stops once for STALL_S, and all else with it."""
    count = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            assert await reader.readexactly(length) in load.bodies
            count += 1
            if count == stall_after:
                time.sleep(STALL_S)
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n[]")

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    result = await run_load(load, host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    server.close()
    return result


def test_every_request_of_a_stall_has_waited() -> None:
    load = Load(rate=200.0, seconds=1.0, bodies=[b"{}"], path="/predict")
    result = asyncio.run(_run(load, stall_after=20))
    assert 100 < sum(load.statuses.values()) < 300
    late = [latency for latency in load.latencies_s if latency > STALL_S / 3]
    assert len(late) > 15
    assert result["p99_ms"] > 500 * STALL_S


def test_other_answers_are_counted_and_have_no_latency() -> None:
    load = Load(rate=100.0, seconds=0.3, bodies=[b"{}", b"[]"], path="/predict")
    result = asyncio.run(_run(load, status=b"429 Too Many Requests"))
    assert set(result["statuses"]) == {"429"} and result["p99_ms"] is None

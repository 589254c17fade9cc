"""Several processes that serve on one shared socket: starts them, replaces one that dies, passes on signals.

A worker is a new Python process (`sentiment_ray.serve.worker`). The supervisor writes it one line of JSON, and keeps
the pipe open: a worker drains when its supervisor is gone. The worker writes lines of JSON back.
"""

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import time
from typing import Any

from prometheus_client.multiprocess import mark_process_dead

from sentiment_ray import log
from sentiment_ray.cpu_quota import count_usable_cpus
from sentiment_ray.errors import ConfigError
from sentiment_ray.http_server.address import describe_address
from sentiment_ray.manifest import format_json
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.metrics import MULTIPROCESS_DIRECTORY

SHORT_LIFE_S = 5.0
"""A worker that ends sooner is replaced after a delay, which doubles each time."""
MAX_DELAY_S = 30.0
KILL_AFTER_S = 5.0
"""How long after the drain limit a worker that is still there is killed."""


def supervise(config: ServeConfig, listener: socket.socket) -> None:
    """Serve with `config.workers` processes until this one is asked to stop. ConfigError when they cannot start."""
    with tempfile.TemporaryDirectory(prefix="sentiment-ray-metrics-") as directory:
        asyncio.run(_Supervisor(config, listener, directory).run())


class _Supervisor:
    def __init__(self, config: ServeConfig, listener: socket.socket, metrics_directory: str) -> None:
        threads = config.threads or max(1, count_usable_cpus() // config.workers)
        self._config = config.model_copy(update={"threads": threads, "workers": 1})
        self._num_workers = config.workers
        self._listener = listener
        self._metrics_directory = metrics_directory
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._ready: set[int] = set()
        self._is_ending = asyncio.Event()
        self._error = ""

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number)
        loop.add_signal_handler(signal.SIGHUP, self._send_all, signal.SIGHUP)
        keeping = [asyncio.create_task(self._keep(index)) for index in range(self._num_workers)]
        await self._is_ending.wait()
        _, late = await asyncio.wait(keeping, timeout=self._config.drain_limit_s + KILL_AFTER_S)
        if late:
            self._send_all(signal.SIGKILL)
            await asyncio.wait(late)
        if self._error:
            raise ConfigError(self._error)

    async def _keep(self, index: int) -> None:
        """Run worker after worker in one place until the service ends."""
        delay_s = 0.5
        while not self._is_ending.is_set():
            start_s = time.monotonic()
            process = await self._start()
            self._processes[index] = process
            if self._is_ending.is_set():
                process.terminate()
            assert process.stdout
            while line := await process.stdout.readline():
                self._read(index, json.loads(line))
            code = await process.wait()
            del self._processes[index]
            mark_process_dead(process.pid, self._metrics_directory)  # type: ignore[no-untyped-call]
            if self._is_ending.is_set():
                return
            delay_s = min(2 * delay_s, MAX_DELAY_S) if time.monotonic() - start_s < SHORT_LIFE_S else 0
            log.notify(f"warning: worker {index} ended with exit code {code}; another one starts")
            await asyncio.sleep(delay_s)

    async def _start(self) -> asyncio.subprocess.Process:
        pipe, listener = asyncio.subprocess.PIPE, self._listener.fileno()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sentiment_ray.serve.worker"),
            stdin=pipe,
            stdout=pipe,
            pass_fds=[listener],
            env=os.environ | {MULTIPROCESS_DIRECTORY: self._metrics_directory},
        )
        assert process.stdin
        process.stdin.write(format_json({"listener": listener, "config": self._config.model_dump()}).encode() + b"\n")
        return process

    def _read(self, index: int, line: dict[str, Any]) -> None:
        """Act on a line from a worker."""
        if "error" in line and len(self._ready) < self._num_workers:
            self._error = line["error"]
            self._end(signal.SIGTERM)
        elif "error" in line:
            log.notify(f"warning: worker {index} does not start. {line['error']}")
        elif line["event"] == "reloaded":
            for other, process in self._processes.items():
                if other != index:
                    process.send_signal(signal.SIGHUP)
        elif index not in self._ready:
            self._ready.add(index)
            if len(self._ready) == self._num_workers:
                address = describe_address(self._listener)
                log.notify(f"serving {line['bundle']} on {address}/predict with {self._num_workers} workers")

    def _end(self, number: int) -> None:
        self._send_all(number)
        self._is_ending.set()

    def _send_all(self, number: int) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(number)

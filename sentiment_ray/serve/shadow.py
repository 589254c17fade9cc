"""A second bundle beside the one that answers: it scores a share of the texts later, in a process of its own.

That process has the lowest priority, so it takes only time that the answering one leaves. Texts go to it through a
pipe as JSON. A bounded queue is in front of it, and texts that find it full are dropped and counted.
"""

import asyncio
import contextlib
import json
import random
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from sentiment_ray import log
from sentiment_ray.errors import BundleError, ConfigError
from sentiment_ray.manifest import format_json
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.metrics import Metrics

MAX_QUEUED_TEXTS = 1000
TEXTS_PER_BATCH = 16
MAX_LINE_BYTES = 64 << 20
SHORT_LIFE_S = 5.0
"""A process that ends sooner is replaced after a delay, which doubles each time."""
MIN_DELAY_S = 0.5
MAX_DELAY_S = 30.0


class Shadow:
    """A second bundle that runs."""

    def __init__(self, config: ServeConfig, metrics: Metrics) -> None:
        self.bundle_id = ""
        self.labels: tuple[str, ...] = ()
        self._config = config
        self._metrics = metrics
        self._queue: deque[tuple[str, str]] = deque()
        self._has_texts = asyncio.Event()
        self._pipe = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._exchanges: set[asyncio.Task[dict[str, Any]]] = set()

    @classmethod
    async def start(cls, config: ServeConfig, metrics: Metrics) -> "Shadow":
        """Start the second bundle and wait until it is ready. ConfigError says what is wrong with it."""
        shadow = cls(config, metrics)
        await shadow._start_process()
        shadow._tasks = [asyncio.create_task(shadow._compare()), asyncio.create_task(shadow._keep())]
        return shadow

    def offer(self, texts: Sequence[str], label_ids: Iterable[int], labels: tuple[str, ...]) -> None:
        """Take a share of the texts, with the labels that were answered, to be scored later."""
        for text, label_id in zip(texts, label_ids, strict=True):
            if random.random() >= self._config.shadow_share:
                continue
            if len(self._queue) >= MAX_QUEUED_TEXTS:
                self._metrics.shadow_dropped.inc()
            else:
                self._queue.append((text, labels[label_id]))
                self._has_texts.set()

    async def score(self, texts: list[str]) -> list[list[float]]:
        """Return the probabilities of the labels for each text. BundleError when the process has ended."""
        answer = await self._ask({"texts": texts})
        probabilities: list[list[float]] = answer["probabilities"]
        return probabilities

    async def close(self) -> None:
        """End the process."""
        for task in self._tasks:
            task.cancel()
        await self._end_process()

    async def _start_process(self) -> None:
        """Start the process; its first line names the bundle, so nobody else may ask meanwhile."""
        config = self._config
        async with self._pipe:
            command = (sys.executable, "-m", "sentiment_ray.serve.shadow_process")
            pipe = asyncio.subprocess.PIPE
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, limit=MAX_LINE_BYTES
            )
            try:
                answer = await self._exchange({"bundle": config.shadow, "require_signature": config.require_signature})
            except BundleError:
                answer = {"error": "It did not start."}
        if "error" in answer:
            await self._end_process()
            raise ConfigError(f"shadow = {config.shadow!r}: {answer['error']}")
        self.bundle_id, self.labels = answer["bundle_id"], tuple(answer["labels"])

    async def _end_process(self) -> None:
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _keep(self) -> None:
        """Start the process again when it ends."""
        delay_s = MIN_DELAY_S
        while True:
            assert self._process
            start_s = time.monotonic()
            code = await self._process.wait()
            delay_s = min(2 * delay_s, MAX_DELAY_S) if time.monotonic() - start_s < SHORT_LIFE_S else MIN_DELAY_S
            log.notify(f"warning: the process of the second bundle ended with exit code {code}; another one starts")
            await asyncio.sleep(delay_s)
            try:
                await self._start_process()
            except ConfigError as error:
                log.notify(f"warning: {error}")

    async def _compare(self) -> None:
        """Score what waits in the queue, and count the labels that differ."""
        while True:
            await self._has_texts.wait()
            batch = [self._queue.popleft() for _ in range(min(TEXTS_PER_BATCH, len(self._queue)))]
            if not self._queue:
                self._has_texts.clear()
            try:
                rows = await self.score([text for text, _ in batch])
            except BundleError:
                self._metrics.shadow_dropped.inc(len(batch))
                await asyncio.sleep(1)
                continue
            found = [self.labels[max(range(len(row)), key=row.__getitem__)] for row in rows]
            self._metrics.shadow_texts.inc(len(batch))
            self._metrics.shadow_flips.inc(sum(a != b for a, (_, b) in zip(found, batch, strict=True)))

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a line. A caller that is cancelled leaves no answer behind for the next one."""
        asking = asyncio.create_task(self._exchange_in_turn(question))
        self._exchanges.add(asking)
        asking.add_done_callback(self._exchanges.discard)
        return await asyncio.shield(asking)

    async def _exchange_in_turn(self, question: dict[str, Any]) -> dict[str, Any]:
        async with self._pipe:
            return await self._exchange(question)

    async def _exchange(self, question: dict[str, Any]) -> dict[str, Any]:
        """Send one line of JSON and return the line that comes back; one caller at a time."""
        assert self._process and self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(format_json(question).encode() + b"\n")
            await self._process.stdin.drain()
            line = await self._process.stdout.readline()
        except (BrokenPipeError, ConnectionResetError):
            line = b""
        if not line:
            raise BundleError("The process of the second bundle has ended.")
        answer: dict[str, Any] = json.loads(line)
        return answer

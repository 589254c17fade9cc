"""A second bundle beside the one that answers: it scores a share of the texts later, in a process of its own.

That process has the lowest priority, so it takes only time that the answering one leaves. Texts go to it through a
pipe as JSON. A bounded queue is in front of it, and texts that find it full are dropped and counted.
"""

import asyncio
import contextlib
import json
import random
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from sentiment_ray.errors import BundleError, ConfigError
from sentiment_ray.manifest import format_json
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.metrics import Metrics

MAX_QUEUED_TEXTS = 1000
TEXTS_PER_BATCH = 16
MAX_LINE_BYTES = 64 << 20


class Shadow:
    """A second bundle that runs."""

    def __init__(self, process: asyncio.subprocess.Process, share: float, metrics: Metrics) -> None:
        self.bundle_id = ""
        self.labels: tuple[str, ...] = ()
        self._process = process
        self._share = share
        self._metrics = metrics
        self._queue: deque[tuple[str, str]] = deque()
        self._has_texts = asyncio.Event()
        self._pipe = asyncio.Lock()
        self._comparing: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, config: ServeConfig, metrics: Metrics) -> "Shadow":
        """Start the second bundle and wait until it is ready. BundleError or ConfigError says what is wrong with it."""
        command = (sys.executable, "-m", "sentiment_ray.serve.shadow_process")
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=MAX_LINE_BYTES)
        shadow = cls(process, config.shadow_share, metrics)
        keys = {"bundle": config.shadow, "require_signature": config.require_signature}
        try:
            answer = await shadow._ask(keys)
        except BundleError:
            answer = {"error": "It did not start."}
        if "error" in answer:
            await shadow.close()
            raise ConfigError(f"shadow = {config.shadow!r}: {answer['error']}")
        shadow.bundle_id, shadow.labels = answer["bundle_id"], tuple(answer["labels"])
        shadow._comparing = asyncio.create_task(shadow._compare())
        return shadow

    def offer(self, texts: Sequence[str], label_ids: Iterable[int], labels: tuple[str, ...]) -> None:
        """Take a share of the texts, with the labels that were answered, to be scored later."""
        for text, label_id in zip(texts, label_ids, strict=True):
            if random.random() >= self._share:
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
        if self._comparing:
            self._comparing.cancel()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

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
        """Send one line of JSON and return the line that comes back; one caller at a time."""
        assert self._process.stdin and self._process.stdout
        async with self._pipe:
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

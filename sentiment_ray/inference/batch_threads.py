"""Threads that run an engine on the rows that wait, in batches; knows token ids and logits, no texts and no labels."""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.engine_specs import get_batching
from sentiment_ray.errors import QueueFullError
from sentiment_ray.inference.admission import Admission, QueueLimits
from sentiment_ray.inference.batch_queue import BatchQueue, QueuedBatch
from sentiment_ray.inference.batch_runner import BatchRunner, Result, Shape, list_shapes
from sentiment_ray.inference.batch_statistics import BatchCounter, FinishedBatch, Statistics
from sentiment_ray.inference.engines import Engine
from sentiment_ray.text.batching import pad_lengths
from sentiment_ray.text.encoding import TextEncoder

logger = logging.getLogger(__name__)

WARM_UP_AFTER_S = 0.02
"""A thread has had no batch for so long when it warms a shape up, for which a caller that asks then would wait."""

Observer = Callable[[FinishedBatch], None]


@dataclass(eq=False)
class Call:
    """The rows of one call of `score`; `logits` float32 `(rows, labels)` once a batch has ended.

    `done` gets its result on its own event loop when the logits of all rows are there. Times are those of
    `time.perf_counter`.
    """

    ids: Sequence[NDArray[np.int64]]
    done: "asyncio.Future[None]"
    added_s: float = 0.0
    begun_s: float = 0.0
    """When the first batch with a row of the call began; 0 until then."""
    ended_s: float = 0.0
    logits: NDArray[np.float32] | None = None
    num_missing: int = 0
    error: Exception | None = None


class BatchThreads:
    """Threads that share one queue and one engine. A thread that is free takes what waits, and waits for no more.

    When a batch fails its rows are computed one by one, and only the calls whose rows fail again get the error.
    """

    def __init__(
        self,
        engine: Engine,
        encoder: TextEncoder,
        *,
        num_threads: int,
        limits: QueueLimits,
        observe: Observer | None = None,
    ) -> None:
        self._max_tokens = encoder.max_tokens
        self._batching = get_batching(engine.name).for_serving()
        lengths = np.arange(encoder.max_tokens + 1, dtype=np.int32)
        self._padded_lengths = pad_lengths(lengths, self._batching, max_tokens=encoder.max_tokens).tolist()
        """To which length a row of each length is padded."""
        self._observe = observe
        self._changed = threading.Condition()
        """Held by whoever uses what is below."""
        self._queue = BatchQueue[Call](self._batching)
        self._counter = BatchCounter()
        self._admission = Admission(limits, self._batching, num_threads=num_threads)
        self._running_tokens = 0
        self._is_closed = False
        self._cold_shapes = [deque[Shape]() for _ in range(num_threads)]
        """The shapes that each thread computes when nothing waits, so that no request meets a new one."""
        self._threads = [
            threading.Thread(
                target=self._run, args=(BatchRunner(engine, encoder), cold), name=f"engine-{index}", daemon=True
            )
            for index, cold in enumerate(self._cold_shapes)
        ]
        for thread in self._threads:
            thread.start()

    def add(self, call: Call) -> None:
        """Let the rows of a call wait. QueueFullError when it would wait for too long."""
        padded = [self._padded_lengths[len(ids)] for ids in call.ids]
        call.num_missing = len(padded)
        with self._changed:
            self._check_room(is_small=self._queue.is_small(padded))
            call.added_s = time.perf_counter()
            if not self._queue.num_rows:
                self._counter.note_work()
            self._queue.add(call, padded, now_s=call.added_s)
            self._changed.notify_all()

    def check_room(self) -> None:
        """Raise QueueFullError when no call is taken at the moment, however small it is."""
        with self._changed:
            self._check_room(is_small=True)

    def remove(self, call: Call) -> None:
        """Drop the rows of a call that still wait."""
        with self._changed:
            self._queue.remove(call)

    def warm_up(self, seconds: float) -> bool:
        """Let each thread compute every shape once when nothing waits; return after some seconds whether all have."""
        with self._changed:
            shapes = list_shapes(self._batching, max_tokens=self._max_tokens)
            for cold in self._cold_shapes:
                cold.clear()
                cold.extend(shapes)
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._is_closed or not any(self._cold_shapes), timeout=seconds)

    def read_statistics(self) -> Statistics:
        """Return what was done until now, and what waits."""
        with self._changed:
            return self._counter.read(
                waiting_rows=self._queue.num_rows,
                waiting_tokens=self._queue.num_tokens,
                cold_shapes=max(map(len, self._cold_shapes)),
            )

    def close(self) -> None:
        """End the threads after their batches; calls that still wait fail."""
        with self._changed:
            self._is_closed = True
            calls = self._empty_queue()
            self._changed.notify_all()
        _fail(calls, RuntimeError("this AsyncPredictor was closed"))

    def wait_closed(self, *, seconds: float) -> None:
        """Wait for the batches that the threads compute when they are closed."""
        end_s = time.perf_counter() + seconds
        for thread in self._threads:
            thread.join(timeout=max(0.0, end_s - time.perf_counter()))

    def _check_room(self, *, is_small: bool) -> None:
        """Raise QueueFullError if a call would wait for too long.

        Every call waits for the small ones before it. A large one gives way to all, and waits until what waits now is
        computed. Where nothing waits every call is taken. What the call itself needs does not count, so most calls are
        refused before their texts become tokens.
        """
        if self._is_closed:
            raise RuntimeError("this AsyncPredictor is closed")
        bounds = [(self._queue.num_small_tokens, self._admission.get_limit())]
        if not is_small:
            bounds.append((self._queue.num_tokens, self._admission.get_backlog_limit()))
        for waiting, limit in bounds:
            if waiting and self._running_tokens + waiting >= limit:
                raise QueueFullError(
                    f"{waiting} tokens of other texts wait for the model, and {limit} may. Try again in a moment."
                )

    def _run(self, runner: BatchRunner, cold: deque[Shape]) -> None:
        free_since_s = time.perf_counter()
        ended_s = 0.0
        while True:
            with self._changed:
                if not self._queue.num_rows:
                    self._wait_for_work(cold, ended_s)
                    free_since_s = time.perf_counter()
                if self._is_closed:
                    return
                batch = self._take()
                shape = None if batch or not cold else cold[0]
            if batch:
                free_since_s = ended_s = self._compute(batch, runner, free_since_s)
            elif shape:
                if shape not in runner.shapes:
                    runner.warm_up(shape)
                    free_since_s = time.perf_counter()
                with self._changed:
                    if cold and cold[0] == shape:
                        cold.popleft()
                    self._changed.notify_all()

    def _wait_for_work(self, cold: deque[Shape], ended_s: float) -> None:
        """Wait for rows, or for a pause of the callers in which a shape can be warmed up."""
        self._changed.wait_for(lambda: self._queue.num_rows or self._is_closed or cold)
        pause_s = ended_s + WARM_UP_AFTER_S - time.perf_counter()
        if pause_s > 0:
            self._changed.wait_for(lambda: self._queue.num_rows or self._is_closed, timeout=pause_s)

    def _take(self) -> QueuedBatch[Call] | None:
        """Return the next batch. Should the queue itself fail, the calls in it fail, and later calls get a new one."""
        try:
            batch = self._queue.take(time.perf_counter())
        except Exception as error:
            logger.exception("the queue of the engine failed, and was emptied")
            _fail(self._empty_queue(), error)
            return None
        if batch:
            self._counter.begin()
            self._running_tokens += batch.num_tokens
        return batch

    def _empty_queue(self) -> list[Call]:
        calls = self._queue.list_calls()
        self._queue = BatchQueue[Call](self._batching)
        return calls

    def _compute(self, batch: QueuedBatch[Call], runner: BatchRunner, free_since_s: float) -> float:
        """Compute a batch, give its results, and return when it ended; its thread was free since `free_since_s`."""
        begun_s = time.perf_counter()
        for call, _ in batch.rows:
            call.begun_s = call.begun_s or begun_s
        ids = [call.ids[row] for call, row in batch.rows]
        finished, results = runner.compute(ids, length=batch.length, num_rows=batch.num_rows)
        ended_s = time.perf_counter()
        with self._changed:
            self._counter.end(finished)
            self._running_tokens -= batch.num_tokens
            if finished:
                self._admission.note_batch(batch.num_tokens, ended_s - free_since_s)
            self._queue.finish(batch.rows, now_s=ended_s)
            ended = self._give_results(batch, results)
        _resolve(ended)
        if finished and self._observe:
            with contextlib.suppress(Exception):  # the observer's own error
                self._observe(finished)
        return ended_s

    def _give_results(self, batch: QueuedBatch[Call], results: Sequence[Result]) -> list[Call]:
        """Give calls the results of some of their rows, and return those that have all of them, or an error."""
        ended: list[Call] = []
        for (call, row), result in zip(batch.rows, results, strict=True):
            if call.error:
                continue
            if isinstance(result, Exception):
                call.error = result
                self._queue.remove(call)
            else:
                if call.logits is None:
                    call.logits = np.empty((len(call.ids), len(result)), dtype=np.float32)
                call.logits[row] = result
                call.num_missing -= 1
            if call.error or not call.num_missing:
                call.ended_s = time.perf_counter()
                ended.append(call)
        return ended


def _fail(calls: Iterable[Call], error: Exception) -> None:
    failed = list(calls)
    for call in failed:
        call.error = error
    _resolve(failed)


def _resolve(calls: Sequence[Call]) -> None:
    """Wake the callers on their event loops, of which a closed one has no callers any more."""
    for loop in {call.done.get_loop() for call in calls}:
        ended = [call for call in calls if call.done.get_loop() is loop]
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_set_results, ended)


def _set_results(calls: Sequence[Call]) -> None:
    for call in calls:
        if call.done.done():  # cancelled
            continue
        if call.error:
            call.done.set_exception(call.error)
        else:
            call.done.set_result(None)

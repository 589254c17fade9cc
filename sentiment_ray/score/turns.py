"""Lets two units share a worker: one is read, tokenised or written while the engine works for the other; no protocol.

A process that dies says nothing of which unit killed it. So each unit that was in work counts a crash, and a unit that
has seen a crash is worked on alone from then on: it waits until the other one is finished, and the next one waits for
it. A unit can therefore count no more than one crash that another one has caused, and nothing is quarantined for that.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.engine_specs import ENGINES
from sentiment_ray.inference.engines import Engine

MIN_UNITS_PER_WORKER = 8
"""Units for each worker from which on it gets two at once. The second one waits for a worker that is still busy when
others have nothing left to do, which costs half a unit on average."""


def count_units_at_once(engine: str, num_units: int, num_workers: int) -> int:
    """Return how many units a worker gets at once: two if its engine leaves the CPU free and there are many units.

    On a CPU there is nothing to gain: the engine computes on the cores that would read and tokenise.
    """
    return 2 if ENGINES[engine].is_gpu and num_units >= MIN_UNITS_PER_WORKER * num_workers else 1


class CrashIsolation:
    """Which units may be in work in this process: several that have seen no crash, or a single one that has."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._num_inside = self._num_waiting_alone = 0
        self._is_alone = False

    @contextmanager
    def enter(self, *, alone: bool) -> Iterator[None]:
        """Work on a unit until the block ends; first wait until no other unit forbids it."""
        with self._condition:
            self._num_waiting_alone += alone
            self._condition.wait_for(lambda: not (self._num_inside if alone else self._forbids_others()))
            self._num_waiting_alone -= alone
            self._num_inside += 1
            self._is_alone = alone
        try:
            yield
        finally:
            with self._condition:
                self._num_inside -= 1
                self._is_alone = False
                self._condition.notify_all()

    def _forbids_others(self) -> bool:
        return self._is_alone or self._num_waiting_alone > 0


class EngineInTurns:
    """An engine that works for one thread at a time, from its first batch until it ends its turn.

    So two units do not compute in step and then wait for the disk together. The texts of the next turn have been
    tokenised by then.
    """

    def __init__(self, engine: Engine) -> None:
        self.name = engine.name
        self._engine = engine
        self._lock = threading.Lock()
        self._owner: int | None = None

    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the logits, as the engine does, after the turn of another thread has ended."""
        if self._owner != threading.get_ident():
            self._lock.acquire()
            self._owner = threading.get_ident()
        return self._engine.logits(input_ids, attention_mask)

    def end_turn(self) -> None:
        """Let another thread use the engine, if this one has a turn."""
        if self._owner == threading.get_ident():
            self._owner = None
            self._lock.release()

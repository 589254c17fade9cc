"""What the tests of the asynchronous predictor share: a way to run it, and an engine that waits and fails."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.inference.admission import QueueLimits
from sentiment_ray.inference.async_predictor import AsyncPredictor
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.inference.scoring import Scores
from tests.conftest import NASTY_TEXTS

GOLDEN = Path(__file__).parent.parent / "golden" / "bundle"
NO_LIMITS = QueueLimits(max_wait_s=1e6, max_backlog_s=1e6, max_tokens=10**9)
TEXTS = [
    *NASTY_TEXTS,
    *(" ".join(["The bus leaves at nine and I love this little shop."] * count) for count in range(1, 6)),
    *(" ".join(["good"] * count) for count in range(1, 40)),
]
Result = TypeVar("Result")


class GatedEngine:
    """The engine of a predictor, whose batches wait until `gate` is set, and fail for rows with `poison` in them."""

    name = "gated"

    def __init__(self, engine: Any, poison: int = -1) -> None:
        self._engine, self._poison = engine, poison
        self.gate = threading.Event()
        self.seconds = 0.0
        self.shapes: list[tuple[int, ...]] = []

    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        assert self.gate.wait(10)
        time.sleep(self.seconds)
        self.shapes.append(input_ids.shape)
        if (input_ids == self._poison).any():
            raise MemoryError("no memory for this row")
        return np.asarray(self._engine.logits(input_ids, attention_mask))


def use(predictor: Predictor, work: Callable[[AsyncPredictor], Awaitable[Result]], **options: Any) -> Result:
    async def run() -> Result:
        answering = AsyncPredictor(predictor, **options)
        try:
            return await work(answering)
        finally:
            answering.close()

    return asyncio.run(run())


def with_engine(predictor: Predictor, engine: Any) -> Predictor:
    other = Predictor.__new__(Predictor)
    other.__dict__.update(predictor.__dict__, loaded_engine=engine)
    return other


def assert_equal_bits(left: Scores, right: Scores) -> None:
    for field in fields(Scores):
        ours, theirs = getattr(left, field.name), getattr(right, field.name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)

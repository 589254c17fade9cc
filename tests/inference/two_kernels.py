"""An engine that is made of two others and takes one or the other, as some kernels change with a batch's shape."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.inference.engines import Engine


class TwoKernelEngine:
    """Answers with one engine, and with another the batches that `changes` is true of."""

    name = "two kernels"

    def __init__(self, usual: Engine, other: Engine, changes: Callable[[NDArray[np.int64]], bool]) -> None:
        self._usual, self._other, self._changes = usual, other, changes
        self.num_calls = 0

    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        self.num_calls += 1
        engine = self._other if self._changes(input_ids) else self._usual
        return engine.logits(input_ids, attention_mask)

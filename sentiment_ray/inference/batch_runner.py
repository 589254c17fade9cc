"""Runs one batch at a time on an engine; knows token ids and logits, no threads and no locks."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.engine_specs import Batching
from sentiment_ray.inference.batch_statistics import FinishedBatch
from sentiment_ray.inference.encoding_ahead import compute_logits
from sentiment_ray.inference.engines import Engine
from sentiment_ray.text.batching import count_full_rows, pad_lengths
from sentiment_ray.text.encoding import TextEncoder

logger = logging.getLogger(__name__)

Result = NDArray[np.float32] | Exception
"""The logits of a row, float32 `(labels,)`, or why there are none."""
Shape = tuple[int, int]
"""The rows and the tokens of each row of a batch, with padding."""
SEVERAL_ROWS_LATER = 4
"""Shapes of several rows are warmed up as if they had so many times their tokens."""


def list_shapes(batching: Batching, *, max_tokens: int) -> list[Shape]:
    """Return the shapes that batches have, those first that are common or quick: one row, and few tokens."""
    lengths = np.unique(pad_lengths(np.arange(1, max_tokens + 1, dtype=np.int32), batching, max_tokens=max_tokens))
    shapes = [
        (count, length)
        for length in lengths.tolist()
        for count in batching.row_counts
        if count <= count_full_rows(length, batching, batching.tokens_per_batch)
    ]
    return sorted(shapes, key=lambda shape: shape[0] * shape[1] * (SEVERAL_ROWS_LATER if shape[0] > 1 else 1))


@dataclass
class BatchRunner:
    """Computes the batches of one thread on an engine, and knows which shapes the thread has computed."""

    engine: Engine
    encoder: TextEncoder
    shapes: set[Shape] = field(default_factory=set)

    def compute(
        self, ids: Sequence[NDArray[np.int64]], *, length: int, num_rows: int
    ) -> tuple[FinishedBatch | None, Sequence[Result]]:
        """Return what a batch was, or None when it failed, and the result of each of its rows.

        The rows of a batch that fails are computed again one by one.
        """
        begun_s = time.perf_counter()
        is_new_shape = (num_rows, length) not in self.shapes
        self.shapes.add((num_rows, length))
        try:
            logits = self._compute_logits(ids, length, num_rows)
        except Exception as error:
            logger.warning("a batch of %d rows of %d tokens failed: %s", num_rows, length, error)
            return None, [error] if len(ids) == 1 else [self._compute_alone(row, length) for row in ids]
        finished = FinishedBatch(
            num_rows=len(ids),
            num_padded_rows=num_rows,
            length=length,
            num_tokens=sum(map(len, ids)),
            seconds=time.perf_counter() - begun_s,
            is_new_shape=is_new_shape,
        )
        return finished, list(logits)

    def warm_up(self, shape: Shape) -> None:
        """Compute a batch of a shape whose first batch takes longer; an error is left to the requests."""
        num_rows, length = shape
        _, results = self.compute([np.zeros(length, dtype=np.int64)] * num_rows, length=length, num_rows=num_rows)
        if isinstance(results[0], Exception):
            self.shapes.discard(shape)

    def _compute_alone(self, ids: NDArray[np.int64], length: int) -> Result:
        try:
            logits: NDArray[np.float32] = self._compute_logits([ids], length, 1)[0]
        except Exception as error:
            return error
        return logits

    def _compute_logits(self, ids: Sequence[NDArray[np.int64]], length: int, num_rows: int) -> NDArray[np.float32]:
        return compute_logits(self.engine, self.encoder, ids, length=length, num_rows=num_rows)

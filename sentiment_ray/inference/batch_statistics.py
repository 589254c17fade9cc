"""What the threads of an engine have done, in plain numbers; exports nothing."""

import time
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class FinishedBatch:
    """A batch that was computed: its rows and tokens without and with padding, and its seconds."""

    num_rows: int
    num_padded_rows: int
    length: int
    """Tokens of each row, with padding."""
    num_tokens: int
    seconds: float
    is_new_shape: bool
    """Whether its thread had not computed this number of rows of this length before, not even to warm up."""

    @property
    def num_padded_tokens(self) -> int:
        """The tokens that the engine computed."""
        return self.num_padded_rows * self.length


@dataclass(frozen=True)
class Statistics:
    """What the threads of an engine have done since their start, and what waits now."""

    waiting_rows: int
    waiting_tokens: int
    """With padding."""
    running_batches: int
    stalled_s: float
    """Seconds since the last batch ended, or since the first row came after a pause; 0 when nothing waits or runs."""
    batches: int
    failed_batches: int
    rows: int
    tokens: int
    padded_tokens: int
    """With padding, and with the tokens of empty rows."""
    new_shapes: int
    """Batches with a shape that their thread had not computed before, not even to warm up."""
    busy_s: float
    """Seconds in which a thread computed a batch, of all threads together."""
    cold_shapes: int
    """Shapes that are still to be warmed up."""
    batches_by_rows: dict[int, int]
    """Number of batches by their number of rows, with empty rows."""


class BatchCounter:
    """Adds up batches; its caller holds a lock."""

    def __init__(self) -> None:
        self._totals = {"batches": 0, "failed_batches": 0, "rows": 0, "tokens": 0, "padded_tokens": 0, "new_shapes": 0}
        self._busy_s = 0.0
        self._batches_by_rows: Counter[int] = Counter()
        self._running = 0
        self._moved_s = 0.0

    def note_work(self) -> None:
        """Note that a row came while nothing waited."""
        if not self._running:
            self._moved_s = time.perf_counter()

    def begin(self) -> None:
        """Note that a thread begins with a batch."""
        self._running += 1

    def end(self, batch: FinishedBatch | None) -> None:
        """Note that a batch has ended; None for one that failed."""
        self._running -= 1
        self._moved_s = time.perf_counter()
        if batch is None:
            self._totals["failed_batches"] += 1
            return
        added = (1, 0, batch.num_rows, batch.num_tokens, batch.num_padded_tokens, int(batch.is_new_shape))
        for name, number in zip(self._totals, added, strict=True):
            self._totals[name] += number
        self._busy_s += batch.seconds
        self._batches_by_rows[batch.num_padded_rows] += 1

    def read(self, *, waiting_rows: int, waiting_tokens: int, cold_shapes: int) -> Statistics:
        """Return the statistics of this moment."""
        is_idle = not waiting_rows and not self._running
        return Statistics(
            waiting_rows=waiting_rows,
            waiting_tokens=waiting_tokens,
            running_batches=self._running,
            stalled_s=0.0 if is_idle else time.perf_counter() - self._moved_s,
            cold_shapes=cold_shapes,
            busy_s=self._busy_s,
            batches_by_rows=dict(self._batches_by_rows),
            **self._totals,
        )

"""Decides how many tokens may wait for an engine; knows rates and times, no queue."""

BURST_S = 1.0
"""A queue that has been empty within so many seconds holds a burst."""
STANDING_QUEUE_S = 0.075
"""How long the rows of a queue that was not empty for longer may take the engine."""
MIN_TOKENS = 2048
"""As many tokens may wait on the slowest engine: those of 64 clients with a short text each."""
SMOOTHING = 0.05
"""Weight of the last batch in the average rate."""


class Admission:
    """A bound for the tokens that wait, which is lower while the queue does not empty.

    A queue that stands only makes every request wait, so more requests than the engine can answer are refused soon, and
    the others are answered soon. A burst, which ends by itself, may fill the queue up to `max_tokens`. Controlled delay
    (CoDel) tells one from the other in the same way: Nichols and Jacobson, "Controlling Queue Delay", 2012,
    https://queue.acm.org/detail.cfm?id=2209336, and Maurer, "Fail at Scale", 2015,
    https://queue.acm.org/detail.cfm?id=2839461.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._seconds_per_token: float | None = None
        self._last_empty_s = 0.0

    def note_empty(self, now_s: float) -> None:
        """Note that no row waits, large calls aside, of which others wait for one batch alone."""
        self._last_empty_s = now_s

    def note_batch(self, num_tokens: int, seconds: float, *, num_threads: int) -> None:
        """Note the time of a batch, while so many threads compute such batches."""
        measured = seconds / (num_tokens * num_threads)
        before = measured if self._seconds_per_token is None else self._seconds_per_token
        self._seconds_per_token = before + SMOOTHING * (measured - before)

    def get_limit(self, now_s: float) -> int:
        """Return how many tokens may wait now."""
        if self._seconds_per_token is None or now_s - self._last_empty_s < BURST_S:
            return self._max_tokens
        return min(self._max_tokens, max(MIN_TOKENS, int(STANDING_QUEUE_S / self._seconds_per_token)))

"""Decides how many tokens may be ahead of a new call; knows rates and times, no queue."""

from dataclasses import dataclass

from sentiment_ray.engine_specs import Batching

MIN_BATCHES = 3.5
"""So many full batches may always be ahead, however slow the engine is: with batches of 256 tokens, a text of 28 tokens
of each of 32 clients."""
REMEMBERED_TOKENS = 16_384
"""The rate of the engine is that of about so many last tokens. A batch counts by its tokens, as a full one is faster
per token, and a queue that is long makes full batches."""


@dataclass(frozen=True)
class QueueLimits:
    """How long calls may wait, and how many tokens."""

    max_wait_s: float = 0.050
    """How long a small call may wait before it is computed."""
    max_backlog_s: float = 15.0
    """How long the engine may need for what waits when a large call comes."""
    max_tokens: int = 200_000
    """When so many tokens wait, no call is taken, however fast the engine is."""


class Admission:
    """Bounds for the tokens ahead of a new call, from the time that the engine takes for tokens.

    More requests than the engine can answer only make every request wait. So those that would wait for longer than
    `max_wait_s` are refused at once, and the others are answered soon. The bound holds for time as in controlled delay
    (CoDel), since a number of tokens is a moment for one engine and a second for another: Nichols and Jacobson,
    "Controlling Queue Delay", 2012, https://queue.acm.org/detail.cfm?id=2209336. CoDel lets bursts wait for longer. As
    a queue cannot know how long a burst will last, the requests of a burst are bounded here too.

    A large call gives others their turn, and waits for longer itself: until all that waits is computed, which may take
    `max_backlog_s`.
    """

    def __init__(self, limits: QueueLimits, batching: Batching, *, num_threads: int) -> None:
        self._limits = limits
        self._num_threads = num_threads
        self._min_tokens = int(MIN_BATCHES * num_threads * batching.tokens_per_batch)
        self._tokens = 0.0
        self._seconds = 0.0

    def note_batch(self, num_tokens: int, seconds: float) -> None:
        """Note the seconds that a thread took from one batch to the end of the next."""
        kept = max(0.0, 1 - num_tokens / REMEMBERED_TOKENS)
        self._tokens = kept * self._tokens + num_tokens
        self._seconds = kept * self._seconds + seconds

    def get_limit(self) -> int:
        """Return how many tokens may be computed before those of a small call."""
        return self._count_tokens(self._limits.max_wait_s)

    def get_backlog_limit(self) -> int:
        """Return how many tokens may wait when a large call comes."""
        return self._count_tokens(self._limits.max_backlog_s)

    def _count_tokens(self, seconds: float) -> int:
        """Return how many tokens are computed in so many seconds, within the limits."""
        if not self._seconds:
            return self._limits.max_tokens
        computed = int(seconds * self._num_threads * self._tokens / self._seconds)
        return min(self._limits.max_tokens, max(self._min_tokens, computed))

"""The rows that wait for an engine, and which of them are its next batch; knows neither threads nor token ids."""

from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sentiment_ray.engine_specs import Batching
from sentiment_ray.text.batching import choose_num_rows

Call = TypeVar("Call", bound=Hashable)

OLDEST_FIRST_S = 0.020
"""A call that has waited for so many seconds is served next, even if other groups are larger."""


@dataclass(frozen=True)
class QueuedBatch(Generic[Call]):
    """Rows that are computed together, each as its call and its index there; `length` and `num_rows` are padded."""

    rows: list[tuple[Call, int]]
    length: int
    num_rows: int

    @property
    def num_tokens(self) -> int:
        """Its tokens, with padding."""
        return self.num_rows * self.length


@dataclass
class _Waiting:
    """The rows of one call that wait, by padded length."""

    is_small: bool
    since_s: float
    """When the call came, or when the last batch with a row of it ended."""
    rows: dict[int, deque[int]]


@dataclass
class _Group(Generic[Call]):
    """The calls that have rows of one padded length. The first call gives the next row, and goes to the end then."""

    small: OrderedDict[Call, None] = field(default_factory=OrderedDict)
    large: OrderedDict[Call, None] = field(default_factory=OrderedDict)
    num_rows: int = 0
    num_small_rows: int = 0


class BatchQueue(Generic[Call]):
    """Rows in groups of one padded length.

    The next batch is made of the largest group, or of a group of the call that has waited longest, once that is
    OLDEST_FIRST_S. A call of several rows that have more tokens than a batch is large. The rows of all other calls
    count before its rows, and calls take turns row by row. So a small call that comes among large ones is in the next
    batch.
    """

    def __init__(self, batching: Batching) -> None:
        self._batching = batching
        self._calls: OrderedDict[Call, _Waiting] = OrderedDict()  # in the order of `since_s`
        self._groups: dict[int, _Group[Call]] = {}
        self.num_rows = 0
        """Rows that wait."""
        self.num_tokens = 0
        """Their tokens, with padding."""
        self.num_small_tokens = 0
        """Those of small calls, which come before the rows of all large ones."""

    def is_small(self, lengths: Sequence[int]) -> bool:
        """Return whether a call with rows of these padded lengths is small: one row, or no more than a batch."""
        return len(lengths) == 1 or sum(lengths) <= self._batching.tokens_per_batch

    def list_calls(self) -> list[Call]:
        """Return the calls that have rows here."""
        return list(self._calls)

    def add(self, call: Call, lengths: Sequence[int], *, now_s: float) -> None:
        """Add the rows of a new call: `lengths` are their padded lengths."""
        waiting = _Waiting(self.is_small(lengths), now_s, {})
        for index, length in enumerate(lengths):
            waiting.rows.setdefault(length, deque()).append(index)
        self._calls[call] = waiting
        for length, rows in waiting.rows.items():
            group = self._groups.setdefault(length, _Group())
            (group.small if waiting.is_small else group.large)[call] = None
            self._count(length, waiting, len(rows))

    def remove(self, call: Call) -> None:
        """Drop the rows of a call that still wait, if there are any."""
        if call not in self._calls:
            return
        waiting = self._calls.pop(call)
        for length, rows in waiting.rows.items():
            group = self._groups[length]
            del (group.small if waiting.is_small else group.large)[call]
            self._count(length, waiting, -len(rows))

    def take(self, now_s: float) -> QueuedBatch[Call] | None:
        """Remove the rows of the next batch and return them, or None when no row waits."""
        if not self._calls:
            return None
        oldest, waiting = next(iter(self._calls.items()))
        is_overdue = now_s - waiting.since_s >= OLDEST_FIRST_S
        length = max(waiting.rows if is_overdue else self._groups, key=self._rank)
        group = self._groups[length]
        size, num_rows = choose_num_rows(group.num_rows, length, self._batching)
        rows: list[tuple[Call, int]] = []
        if is_overdue:
            rows.append(self._take_row(oldest, length))
        for calls in (group.small, group.large):
            while calls and len(rows) < size:
                rows.append(self._take_row(next(iter(calls)), length))
        self.finish(rows, now_s=now_s)
        return QueuedBatch(rows, length, num_rows)

    def finish(self, rows: Sequence[tuple[Call, int]], *, now_s: float) -> None:
        """Note that the calls of some rows have just been served, so that others have waited longer than they."""
        for call in {call: None for call, _ in rows}:
            if call in self._calls:
                self._calls[call].since_s = now_s
                self._calls.move_to_end(call)

    def _rank(self, length: int) -> tuple[int, int]:
        """Return how good a batch of a group would be: its rows of small calls, then all its rows."""
        group = self._groups[length]
        largest, _ = choose_num_rows(group.num_rows, length, self._batching)
        return min(group.num_small_rows, largest), largest

    def _take_row(self, call: Call, length: int) -> tuple[Call, int]:
        waiting, group = self._calls[call], self._groups[length]
        calls = group.small if waiting.is_small else group.large
        index = waiting.rows[length].popleft()
        calls.move_to_end(call)
        if not waiting.rows[length]:
            del waiting.rows[length], calls[call]
        if not waiting.rows:
            del self._calls[call]
        self._count(length, waiting, -1)
        return call, index

    def _count(self, length: int, waiting: _Waiting, num_added: int) -> None:
        group = self._groups[length]
        group.num_rows += num_added
        self.num_rows += num_added
        self.num_tokens += num_added * length
        if waiting.is_small:
            group.num_small_rows += num_added
            self.num_small_tokens += num_added * length
        if not group.num_rows:
            del self._groups[length]

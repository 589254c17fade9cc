"""The queue gives every row once, in batches within their budget, and lets no call wait for long."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment_ray.engine_specs import CPU_BATCHING, CUDA_BATCHING, SERVING_ROW_COUNTS, Batching
from sentiment_ray.inference.batch_queue import OLDEST_FIRST_S, BatchQueue, QueuedBatch
from sentiment_ray.text.batching import MAX_EMPTY_SHARE, choose_num_rows

SERVING = CPU_BATCHING.for_serving()
BUDGET = SERVING.tokens_per_batch
LENGTHS = st.sampled_from([8, 16, 24, 32, 128, 512, 600])
CALLS = st.lists(st.lists(LENGTHS, min_size=1, max_size=40), min_size=1, max_size=12)


def _take_all(queue: BatchQueue[int], *, now_s: float = 0.0, step_s: float = 0.0) -> list[QueuedBatch[int]]:
    batches = []
    while batch := queue.take(now_s):
        batches.append(batch)
        now_s += step_s
        queue.finish(batch.rows, now_s=now_s)
    return batches


def _fill(calls: list[list[int]]) -> BatchQueue[int]:
    queue = BatchQueue[int](SERVING)
    for call, lengths in enumerate(calls):
        queue.add(call, lengths, now_s=0.0)
    return queue


@settings(deadline=None)
@given(calls=CALLS, step_s=st.sampled_from([0.0, 0.004, 0.030]))
def test_every_row_comes_once_in_a_batch_of_its_length_within_the_budget(calls: list[list[int]], step_s: float) -> None:
    queue = _fill(calls)
    assert queue.num_tokens == sum(map(sum, calls)) and queue.num_rows == sum(map(len, calls))
    batches = _take_all(queue, step_s=step_s)
    rows = [row for batch in batches for row in batch.rows]
    assert sorted(rows) == [(call, index) for call, lengths in enumerate(calls) for index in range(len(lengths))]
    for batch in batches:
        assert {calls[call][index] for call, index in batch.rows} == {batch.length}
        assert batch.num_rows in SERVING_ROW_COUNTS
        assert batch.num_rows == 1 or batch.num_rows * batch.length <= BUDGET
        assert 0 <= batch.num_rows - len(batch.rows) <= MAX_EMPTY_SHARE * batch.num_rows
    assert queue.num_tokens == queue.num_rows == queue.num_small_tokens == 0
    assert queue.take(0.0) is None


@settings(deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.lists(LENGTHS, min_size=1, max_size=30)),
            st.tuples(st.just("remove"), st.integers(0, 30)),
            st.tuples(st.just("take"), st.sampled_from([0.0, 0.005, 0.025])),
        ),
        max_size=60,
    )
)
def test_rows_of_removed_calls_never_come_and_all_others_do(steps: list[tuple[str, object]]) -> None:
    queue = BatchQueue[int](SERVING)
    missing: dict[int, set[int]] = {}
    now_s, num_calls = 0.0, 0
    for action, value in [*steps, *[("take", 0.001)] * 2000]:
        if action == "add":
            lengths = list(value)  # type: ignore[call-overload]
            queue.add(num_calls, lengths, now_s=now_s)
            missing[num_calls] = set(range(len(lengths)))
            num_calls += 1
        elif action == "remove":
            queue.remove(int(value))  # type: ignore[call-overload]
            missing.pop(int(value), None)  # type: ignore[call-overload]
        else:
            now_s += float(value)  # type: ignore[arg-type]
            batch = queue.take(now_s)
            for call, index in batch.rows if batch else []:
                missing[call].remove(index)
        assert queue.num_rows == sum(map(len, missing.values()))
    assert not any(missing.values())


@settings(deadline=None, max_examples=30)
@given(
    large=st.lists(st.lists(LENGTHS, min_size=100, max_size=300), min_size=1, max_size=6),
    num_taken=st.integers(0, 20),
    length=LENGTHS,
    age_s=st.floats(0, 0.1),
)
def test_a_small_call_among_large_ones_is_in_the_next_batch_but_one(
    large: list[list[int]], num_taken: int, length: int, age_s: float
) -> None:
    queue = _fill(large)
    for _ in range(num_taken):
        queue.take(0.0)
    queue.add(99, [length], now_s=0.0)
    batches = [queue.take(age_s) for _ in range(1 + len(large))]
    index = next(index for index, batch in enumerate(batches) if batch and (99, 0) in batch.rows)
    assert index == 0 if age_s < OLDEST_FIRST_S else index <= len(large)


@settings(deadline=None)
@given(calls=CALLS)
def test_once_all_are_overdue_each_call_is_served_before_any_is_served_a_second_time_as_the_oldest(
    calls: list[list[int]],
) -> None:
    queue = _fill(calls)
    now_s = OLDEST_FIRST_S
    served: set[int] = set()
    for _ in calls:
        batch = queue.take(now_s)
        served |= {call for call, _ in batch.rows} if batch else set()
        now_s += OLDEST_FIRST_S
    assert served == set(range(len(calls)))


def test_the_largest_group_is_first_and_the_oldest_call_once_it_is_overdue() -> None:
    def take_second_after(seconds: float) -> int:
        queue = _fill([[128], [24], [24], [24], [32], [32]])
        batch = queue.take(seconds)
        assert batch is not None
        return batch.length

    assert take_second_after(OLDEST_FIRST_S / 2) == 24
    assert take_second_after(OLDEST_FIRST_S) == 128


def test_large_calls_take_turns_row_by_row() -> None:
    queue = _fill([[64] * 100, [64] * 50])
    batch = queue.take(0.0)
    assert batch is not None and [call for call, _ in batch.rows] == [0, 1, 0, 1]


def test_a_call_is_small_if_it_is_one_row_or_no_more_than_a_batch() -> None:
    assert _fill([[128] * 100]).num_small_tokens == 0
    assert _fill([[128] * 100, [24] * 2]).num_small_tokens == 48
    assert _fill([[1000]]).num_small_tokens == 1000
    assert _fill([[BUDGET // 2] * 2]).num_small_tokens == BUDGET


@pytest.mark.parametrize("batching", [SERVING, CUDA_BATCHING.for_serving()])
@pytest.mark.parametrize("length", [8, 24, 100, 512, 10_000])
def test_row_counts_come_from_the_ladder_with_few_empty_rows(batching: Batching, length: int) -> None:
    for num_waiting in range(1, 200):
        size, num_rows = choose_num_rows(num_waiting, length, batching)
        assert 1 <= size <= min(num_rows, num_waiting)
        assert num_rows in batching.row_counts
        assert num_rows - size <= MAX_EMPTY_SHARE * num_rows
        assert num_rows == 1 or num_rows * length <= batching.tokens_per_batch


def test_rows_that_would_need_many_empty_ones_wait_for_company() -> None:
    chosen = [choose_num_rows(count, 8, SERVING) for count in (5, 7, 9, 10, 13, 14, 17, 23)]
    assert chosen == [(4, 4), (7, 8), (8, 8), (8, 8), (12, 12), (14, 16), (16, 16), (23, 24)]
    assert np.all(np.diff(SERVING_ROW_COUNTS) > 0)

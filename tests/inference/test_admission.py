"""A call that would wait for too long is refused by the rate of the engine, and an idle engine takes every call."""

import pytest

from sentiment_ray.engine_specs import CPU_BATCHING
from sentiment_ray.inference.admission import MIN_BATCHES, REMEMBERED_TOKENS, Admission, QueueLimits

BATCHING = CPU_BATCHING.for_serving()
LIMITS = QueueLimits(max_wait_s=0.1, max_backlog_s=10, max_tokens=10**6)


def _after_batches(tokens_per_s: float, *, num_threads: int = 1, limits: QueueLimits = LIMITS) -> Admission:
    admission = Admission(limits, BATCHING, num_threads=num_threads)
    for _ in range(2 * REMEMBERED_TOKENS // 500):
        admission.note_batch(500, 500 / tokens_per_s)
    return admission


@pytest.mark.parametrize("num_threads", [1, 2])
def test_the_bound_is_what_all_threads_compute_in_the_time_that_a_call_may_wait(num_threads: int) -> None:
    admission = _after_batches(40_000, num_threads=num_threads)
    assert admission.get_limit() == pytest.approx(4_000 * num_threads, abs=1)
    assert admission.get_backlog_limit() == pytest.approx(400_000 * num_threads, abs=1)


def test_before_the_first_batch_nothing_but_the_number_of_tokens_is_bounded() -> None:
    assert Admission(LIMITS, BATCHING, num_threads=1).get_limit() == LIMITS.max_tokens


def test_some_full_batches_are_allowed_on_the_slowest_engine() -> None:
    assert _after_batches(1.0).get_limit() == MIN_BATCHES * BATCHING.tokens_per_batch
    assert _after_batches(1.0, num_threads=3).get_limit() == 3 * MIN_BATCHES * BATCHING.tokens_per_batch


def test_no_bound_is_above_that_of_the_user() -> None:
    few = QueueLimits(max_tokens=100)
    assert _after_batches(10**9, limits=few).get_limit() == _after_batches(1.0, limits=few).get_limit() == 100


def test_the_rate_follows_the_engine_and_full_batches_count_for_more() -> None:
    admission = _after_batches(10_000)
    for _ in range(4 * REMEMBERED_TOKENS // 500):
        admission.note_batch(500, 500 / 40_000)
    assert admission.get_limit() == pytest.approx(4_000, rel=0.1)
    admission.note_batch(8, 0.004)  # one short row, as when nothing waits
    assert admission.get_limit() == pytest.approx(4_000, rel=0.1)

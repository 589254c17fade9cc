"""A burst may fill the queue; a queue that does not empty is held to what the engine computes in a moment."""

from sentiment_ray.inference.admission import BURST_S, MIN_TOKENS, STANDING_QUEUE_S, Admission


def _after_batches(tokens_per_s: float, *, num_threads: int = 1) -> Admission:
    admission = Admission(8192)
    admission.note_empty(0.0)
    for _ in range(100):
        admission.note_batch(500, 500 / tokens_per_s, num_threads=num_threads)
    return admission


def test_a_burst_may_fill_the_queue() -> None:
    assert Admission(8192).get_limit(100.0) == 8192
    assert _after_batches(20_000).get_limit(0.9 * BURST_S) == 8192


def test_a_queue_that_does_not_empty_is_held_to_a_moment_of_the_engine() -> None:
    admission = _after_batches(40_000)
    assert abs(admission.get_limit(BURST_S) - 40_000 * STANDING_QUEUE_S) <= 1
    assert abs(_after_batches(40_000, num_threads=2).get_limit(BURST_S) - 80_000 * STANDING_QUEUE_S) <= 1
    admission.note_empty(5.0)
    assert admission.get_limit(5.0 + 0.9 * BURST_S) == 8192


def test_the_bound_is_neither_above_that_of_the_user_nor_too_small_for_a_batch() -> None:
    assert _after_batches(10**9).get_limit(BURST_S) == 8192
    assert _after_batches(1.0).get_limit(BURST_S) == MIN_TOKENS

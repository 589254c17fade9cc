"""A text that was scored once is not scored again, and its scores have the same bits."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from sentiment_ray import Predictor
from sentiment_ray.score import distinct_texts, text_cache
from sentiment_ray.score.distinct_texts import DistinctTexts, choose_cache
from sentiment_ray.score.text_cache import DIGEST_BYTES, WAYS, TextCache, share_text_cache
from sentiment_ray.text.batching import PADDED_LENGTHS
from tests.inference.two_kernels import TwoKernelEngine


@pytest.fixture
def share(ray_cluster: None) -> Iterator[Callable[..., Any]]:
    """Takes a number of texts, and returns a cache that ends with the test."""
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(share_text_cache(*arguments))


def _digests(*numbers: int) -> np.ndarray:
    return np.array([list((number + 1).to_bytes(DIGEST_BYTES, "little")) for number in numbers], dtype=np.uint8)


def test_scores_from_the_cache_are_those_of_the_engine_to_the_bit(
    predictor: Predictor, share: Callable[..., Any]
) -> None:
    cache = share(1000)
    texts = [f"text number {number % 70} of many" for number in range(100)]
    first = DistinctTexts(predictor, 2048, cache)
    expected = first.score(texts)
    second = DistinctTexts(predictor, 2048, cache)
    scores = second.score([*texts[::-1], "a new one"])
    assert (first.num_scored, second.num_scored) == (70, 1)
    for name in ("logits", "probabilities", "label_ids", "tokens", "truncated", "unknown"):
        actual, wanted = getattr(scores, name)[:100][::-1], getattr(expected, name)
        assert actual.dtype == wanted.dtype
        assert np.array_equal(actual, wanted)


def test_what_is_known_of_a_unit_has_a_fixed_size(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinct_texts, "KNOWN_TEXTS", 4 * WAYS)
    texts = [f"text {number}" for number in range(256)]
    unit = DistinctTexts(predictor, 2048)
    bytes_before = _count_bytes(unit)
    for start in range(0, 256, 8):
        scores = unit.score(texts[start : start + 8] * 2)
        assert np.array_equal(scores.logits[:8], scores.logits[8:])
    assert unit.num_scored == 256
    assert np.array_equal(unit.score(texts[-8:]).label_ids, predictor.score(texts[-8:]).label_ids)
    assert unit.num_scored == 256
    unit.score(texts[:8])  # the oldest are no longer known
    assert unit.num_scored == 264
    assert _count_bytes(unit) < bytes_before + 4 * WAYS * 64


def _count_bytes(unit: DistinctTexts) -> int:
    """Return the bytes of all that a unit keeps of its texts."""
    tables = [value for value in vars(unit._known).values() if isinstance(value, np.ndarray)]
    kept = [value for value in vars(unit).values() if isinstance(value, dict | list)]
    return sum(table.nbytes for table in tables) + sum(map(len, kept))


def test_several_actors_answer_as_one(share: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_cache, "WORKERS_PER_ACTOR", 1)
    cache, numbers = share(300, 3), range(60)
    digests = np.stack(
        [np.frombuffer(hashlib.blake2b(bytes([n]), digest_size=DIGEST_BYTES).digest(), np.uint8) for n in numbers]
    )
    rows = np.array([[number, 7] for number in numbers], dtype=np.uint8)
    assert len(cache._split(digests)) == 3
    cache.put(digests[::2], rows[::2])
    hits, found, claimed = cache.get_or_claim(digests)
    assert hits.tolist() == [True, False] * 30
    assert np.array_equal(found, rows[::2])
    assert not claimed.any()
    assert cache.get_or_claim(digests)[2].tolist() == [False, True] * 30
    assert np.array_equal(cache.get(digests[:7])[1], rows[:7:2])


def test_a_worker_stops_asking_where_hardly_any_text_is_found(
    share: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_cache, "MIN_ASKED", 100)
    cache = share(1000)
    cache.get_or_claim(_digests(*range(99)))
    cache.put(_digests(*range(99)), np.zeros((99, 3), dtype=np.uint8))
    assert cache.get_or_claim(_digests(200))[0].tolist() == [False]
    cache.get_or_claim(_digests(*range(99)))
    monkeypatch.setattr(text_cache, "MIN_FOUND_SHARE", 0.9)
    hits, _, claimed = cache.get_or_claim(_digests(*range(99)))
    assert not (hits.any() or claimed.any())


@pytest.mark.parametrize(("num_workers", "expected"), [(1, 1), (64, 1), (65, 2), (1000, 16)])
def test_many_workers_share_several_actors(num_workers: int, expected: int) -> None:
    assert text_cache.count_actors(num_workers) == expected


def test_memory_that_is_missing_even_for_small_batches_is_a_fault_that_may_pass(predictor: Predictor) -> None:
    class FullEngine:
        def score(self, texts: list[str], **_: Any) -> Any:
            return predictor.score(texts)

        def score_in_batches(self, texts: list[str], **_: Any) -> Any:
            raise RuntimeError("std::bad_alloc")

    with pytest.raises(MemoryError, match="bad_alloc"):
        DistinctTexts(FullEngine(), 256).score(["a text"])  # type: ignore[arg-type]


def test_the_bytes_of_a_unit_do_not_depend_on_what_was_scored_before(
    bundle: Path,
    predictor: Predictor,
    everyday: list[tuple[str, str]],
    share: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernels change where two or more rows are long. The units before had each text alone."""
    openvino = Predictor.load(bundle, engine="openvino", variant="fp32", threads=2)
    changing = TwoKernelEngine(
        predictor.loaded_engine, openvino.loaded_engine, lambda ids: len(ids) > 1 and ids.shape[1] in range(20, 32)
    )
    monkeypatch.setattr(predictor, "loaded_engine", changing)
    unit = [" ".join(text for text, _ in everyday[start : start + 2]) for start in range(120)]
    expected = DistinctTexts(predictor, 2048).score(unit).logits.tobytes()

    def score_after_others(cache: Any) -> bytes:
        for text in unit:
            DistinctTexts(predictor, 2048, cache).score([text])
        return DistinctTexts(predictor, 2048, cache).score(unit).logits.tobytes()

    assert score_after_others(share(1000)) != expected  # a cache must not be shared here, and is not:
    trial = {"texts": 9, "texts_alone": 9, "longest": 32, "tokens_per_batch": 2048, "differing": 1}
    gate = predictor.manifest.variants["fp32"].gate["onnxruntime"]
    monkeypatch.setitem(
        gate, "batch_invariance", trial | {"version": "", "instruction_sets": [], "padded_lengths": PADDED_LENGTHS}
    )
    cache = choose_cache(predictor, share(1000), tokens_per_batch=2048)
    assert cache is None
    assert score_after_others(cache) == expected


def test_the_oldest_texts_are_replaced() -> None:
    cache = TextCache(WAYS)
    for number in range(WAYS + 2):
        cache.put(_digests(number), np.array([[number]], dtype=np.uint8))
    hits, rows = cache.get(_digests(*range(WAYS + 2)))
    assert hits.tolist() == [False] * 2 + [True] * WAYS
    assert rows[:, 0].tolist() == list(range(2, WAYS + 2))


def test_a_text_that_another_worker_has_claimed_is_missing_until_it_is_put() -> None:
    cache = TextCache(100)
    hits, _, claimed = cache.get_or_claim(_digests(1, 2))
    assert (hits.any(), claimed.any()) == (False, False)
    hits, _, claimed = cache.get_or_claim(_digests(2, 3))
    assert (hits.tolist(), claimed.tolist()) == ([False, False], [True, False])
    assert not cache.get(_digests(2))[0].any()
    cache.put(_digests(2), np.array([[7]], dtype=np.uint8))
    hits, rows, claimed = cache.get_or_claim(_digests(2, 3))
    assert (hits.tolist(), rows.tolist(), claimed.tolist()) == ([True, False], [[7]], [False, True])


def test_a_text_whose_claiming_worker_has_crashed_is_scored_by_the_next(
    predictor: Predictor, share: Callable[..., Any]
) -> None:
    cache = share(100)
    texts = ["good", "bad"]
    digests = [hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest() for text in texts]
    cache.get_or_claim(np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(2, -1))
    distinct = DistinctTexts(predictor, 2048, cache)
    assert np.array_equal(distinct.score(texts).logits, predictor.score(texts).logits)
    assert distinct.num_scored == 2


def test_nearly_all_texts_are_cached_when_half_of_the_slots_are_used() -> None:
    generator = np.random.default_rng(0)
    digests = generator.integers(0, 256, size=(50_000, DIGEST_BYTES), dtype=np.uint8)
    cache = TextCache(100_000)
    for start in range(0, len(digests), 7000):
        cache.put(digests[start : start + 7000], digests[start : start + 7000, :5])
    hits, rows = cache.get(digests)
    assert hits.mean() > 0.98
    assert np.array_equal(rows, digests[hits, :5])
    assert not cache.get(digests[:, ::-1])[0].any()


def test_scoring_continues_when_the_cache_actor_has_died(predictor: Predictor, share: Callable[..., Any]) -> None:
    cache = share(3)
    distinct = DistinctTexts(predictor, 2048, cache)
    ray.kill(cache._actors[0])
    assert len(distinct.score(["good", "bad", "good"]).label_ids) == 3
    assert distinct.num_scored == 2


def test_the_process_of_a_cache_ends_with_the_run_whoever_still_holds_its_handle(ray_cluster: None) -> None:
    with share_text_cache(3) as cache:
        assert cache is not None
        cache.put(_digests(1), np.zeros((1, 2), dtype=np.uint8))
    deadline = time.monotonic() + 60
    with pytest.raises(ray.exceptions.RayActorError):
        while time.monotonic() < deadline:  # Ray ends it soon, not at once
            cache.get(_digests(1))


def test_without_texts_to_cache_there_is_no_process() -> None:
    with share_text_cache(0) as cache:
        assert cache is None


@pytest.mark.parametrize(("variant", "expected"), [("fp32", True), ("int8", False)])
def test_an_engine_whose_scores_depend_on_the_batch_is_recognised(bundle: Path, variant: str, expected: bool) -> None:
    assert Predictor.load(bundle, engine="onnxruntime", variant=variant, threads=2).is_batch_invariant() is expected

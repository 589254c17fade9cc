"""Texts that were scored once are not scored again, and nothing in a part tells."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import ray

from sentiment_ray import Predictor
from sentiment_ray.score.memory import DIGEST_BYTES, WAYS, TextMemory, TextTable
from sentiment_ray.score.part import DistinctTexts


def _digests(*numbers: int) -> np.ndarray:
    return np.array([list((number + 1).to_bytes(DIGEST_BYTES, "little")) for number in numbers], dtype=np.uint8)


def test_scores_from_the_memory_are_those_of_the_engine_to_the_bit(predictor: Predictor, ray_cluster: None) -> None:
    memory = TextMemory.remote(1000)
    texts = [f"text number {number % 70} of many" for number in range(100)]
    first = DistinctTexts(predictor, 2048, memory)
    expected = first.score(texts)
    second = DistinctTexts(predictor, 2048, memory)
    found = second.score([*texts[::-1], "a new one"])
    assert (first.num_scored, second.num_scored) == (70, 1)
    for name in ("logits", "probabilities", "label_ids", "tokens", "truncated", "unknown"):
        mine, theirs = getattr(found, name)[:100][::-1], getattr(expected, name)
        assert mine.dtype == theirs.dtype
        assert np.array_equal(mine, theirs)


def test_the_oldest_give_way() -> None:
    table = TextTable(WAYS)
    for number in range(WAYS + 2):
        table.remember(_digests(number), np.array([[number]], dtype=np.uint8))
    known, rows = table.recall(_digests(*range(WAYS + 2)))
    assert known.tolist() == [False] * 2 + [True] * WAYS
    assert rows[:, 0].tolist() == list(range(2, WAYS + 2))


def test_a_text_that_another_has_claimed_is_left_until_it_is_there() -> None:
    table = TextTable(100)
    known, _, claimed = table.claim(_digests(1, 2))
    assert (known.any(), claimed.any()) == (False, False)
    known, _, claimed = table.claim(_digests(2, 3))
    assert (known.tolist(), claimed.tolist()) == ([False, False], [True, False])
    assert not table.recall(_digests(2))[0].any()
    table.remember(_digests(2), np.array([[7]], dtype=np.uint8))
    known, rows, claimed = table.claim(_digests(2, 3))
    assert (known.tolist(), rows.tolist(), claimed.tolist()) == ([True, False], [[7]], [False, True])


def test_a_text_whose_claimant_has_died_is_scored_by_the_next(predictor: Predictor, ray_cluster: None) -> None:
    memory = TextMemory.remote(100)
    texts = ["good", "bad"]
    digests = [hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest() for text in texts]
    ray.get(memory.claim.remote(np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(2, -1)))
    distinct = DistinctTexts(predictor, 2048, memory)
    assert np.array_equal(distinct.score(texts).logits, predictor.score(texts).logits)
    assert distinct.num_scored == 2


def test_nearly_all_of_half_as_many_texts_as_there_are_places_are_known_again() -> None:
    generator = np.random.default_rng(0)
    digests = generator.integers(0, 256, size=(50_000, DIGEST_BYTES), dtype=np.uint8)
    table = TextTable(100_000)
    for start in range(0, len(digests), 7000):
        table.remember(digests[start : start + 7000], digests[start : start + 7000, :5])
    known, rows = table.recall(digests)
    assert known.mean() > 0.98
    assert np.array_equal(rows, digests[known, :5])
    assert not table.recall(digests[:, ::-1])[0].any()


def test_scoring_goes_on_without_a_memory_that_has_died(predictor: Predictor, ray_cluster: None) -> None:
    memory = TextMemory.remote(3)
    distinct = DistinctTexts(predictor, 2048, memory)
    ray.kill(memory)
    assert len(distinct.score(["good", "bad", "good"]).label_ids) == 3
    assert distinct.num_scored == 2


@pytest.mark.parametrize(("variant", "expected"), [("fp32", True), ("int8", False)])
def test_an_engine_that_looks_at_the_neighbours_is_known(bundle: Path, variant: str, expected: bool) -> None:
    assert Predictor.load(bundle, engine="onnxruntime", variant=variant, threads=2).is_batch_invariant() is expected

"""Texts that were scored once are not scored again, and nothing in a part tells."""

from pathlib import Path

import numpy as np
import pytest
import ray

from sentiment_ray import Predictor
from sentiment_ray.score.memory import DIGEST_BYTES, TextMemory
from sentiment_ray.score.part import DistinctTexts


def _digest(number: int) -> bytes:
    return number.to_bytes(DIGEST_BYTES, "big")


def test_scores_from_the_memory_are_those_of_the_engine_to_the_bit(predictor: Predictor, ray_cluster: None) -> None:
    memory = TextMemory.remote(1000)  # type: ignore[attr-defined]
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


def test_the_oldest_give_way(ray_cluster: None) -> None:
    memory = TextMemory.remote(3)  # type: ignore[attr-defined]
    for number in range(5):
        ray.get(memory.remember.remote(_digest(number), bytes([number]), 1))
    found = ray.get(memory.recall.remote(b"".join(_digest(number) for number in range(5))))
    assert found == [None, None, b"\x02", b"\x03", b"\x04"]


def test_scoring_goes_on_without_a_memory_that_has_died(predictor: Predictor, ray_cluster: None) -> None:
    memory = TextMemory.remote(3)  # type: ignore[attr-defined]
    distinct = DistinctTexts(predictor, 2048, memory)
    ray.kill(memory)
    assert len(distinct.score(["good", "bad", "good"]).label_ids) == 3
    assert distinct.num_scored == 2


@pytest.mark.parametrize(("variant", "expected"), [("fp32", True), ("int8", False)])
def test_an_engine_that_looks_at_the_neighbours_is_known(bundle: Path, variant: str, expected: bool) -> None:
    assert Predictor.load(bundle, engine="onnxruntime", variant=variant, threads=2).is_batch_invariant() is expected

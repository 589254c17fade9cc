"""Texts are encoded beside an engine on a GPU, in batches of few shapes that follow from the texts alone."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentiment_ray import Predictor
from sentiment_ray.engine_specs import CUDA_BATCHING, ENGINES
from sentiment_ray.inference import encoding_ahead
from sentiment_ray.inference.scoring import restore_order, score_texts
from sentiment_ray.text.encoding import encode
from sentiment_ray.text.truncation import TokenWindows
from tests.inference import gpu_engine

GPU = gpu_engine.NAME
COLUMNS = ("label_ids", "tokens", "truncated", "unknown")


@pytest.fixture
def on_gpu(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    """The bundle on an engine that is batched as one on a GPU."""
    monkeypatch.setitem(ENGINES, GPU, gpu_engine.SPEC)
    monkeypatch.setattr(encoding_ahead, "TEXTS_AHEAD", 50)
    return Predictor.load(bundle, engine=GPU, variant="fp32", threads=2)


@pytest.fixture
def texts(everyday: list[tuple[str, str]]) -> list[str]:
    sentences = [text for text, _ in everyday]
    return [" ".join(sentences[start : start + 1 + start % 5]) for start in range(330)] + ["x", "word " * 500]


def test_every_text_gets_the_answer_that_it_gets_on_a_cpu(
    on_gpu: Predictor, predictor: Predictor, texts: list[str]
) -> None:
    scores, expected = on_gpu.score(texts, tokens_per_batch=1024), predictor.score(texts)
    np.testing.assert_allclose(scores.probabilities, expected.probabilities, atol=1e-5)
    for name in COLUMNS:
        assert getattr(scores, name).tolist() == getattr(expected, name).tolist()


@pytest.mark.parametrize("tokens_per_batch", [16, 1024, None])
def test_the_engine_sees_few_shapes_whatever_the_texts(
    on_gpu: Predictor, texts: list[str], tokens_per_batch: int | None
) -> None:
    engine: Any = on_gpu.loaded_engine
    engine.shapes.clear()
    on_gpu.score(texts, tokens_per_batch=tokens_per_batch)
    rows, lengths = zip(*engine.shapes, strict=True)
    assert set(lengths) <= {*CUDA_BATCHING.lengths} and set(rows) <= {*CUDA_BATCHING.row_counts}
    assert sum(rows) >= len(texts)
    budget = tokens_per_batch or CUDA_BATCHING.tokens_per_batch
    assert all(count == 1 or count * length <= budget for count, length in engine.shapes)


def test_the_same_texts_give_the_same_batches_however_fast_they_are_encoded(
    on_gpu: Predictor, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = on_gpu.loaded_engine
    seen = []
    for pieces_ahead in (1, 4, 100):
        monkeypatch.setattr(encoding_ahead, "PIECES_AHEAD", pieces_ahead)
        engine.shapes.clear()
        logits = on_gpu.score(texts, tokens_per_batch=512).logits
        seen.append((logits.tobytes(), list(engine.shapes)))
    assert seen[0] == seen[1] == seen[2]


def test_the_next_texts_are_encoded_while_the_engine_computes(
    on_gpu: Predictor, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = on_gpu.loaded_engine
    compute, is_encoded = engine.logits, [threading.Event() for _ in range(3)]
    pieces = iter(is_encoded)

    def encode_and_say(*arguments: Any) -> Any:
        encoded = encode(*arguments)
        next(pieces, threading.Event()).set()
        return encoded

    def wait_and_compute(ids: Any, mask: Any) -> Any:
        assert is_encoded[2].wait(timeout=30), "the third piece waits for the engine"
        return compute(ids, mask)

    monkeypatch.setattr(encoding_ahead, "encode", encode_and_say)
    monkeypatch.setattr(engine, "logits", wait_and_compute)
    assert len(on_gpu.score(texts, tokens_per_batch=64).label_ids) == len(texts)


def test_what_goes_wrong_while_texts_are_encoded_is_raised(
    on_gpu: Predictor, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise MemoryError("no room")

    monkeypatch.setattr(encoding_ahead, "encode", fail)
    with pytest.raises(MemoryError, match="no room"):
        on_gpu.score(texts)


def test_no_thread_is_left_when_the_engine_fails_or_nobody_reads_on(on_gpu: Predictor, texts: list[str]) -> None:
    next(on_gpu.score_in_batches(texts, tokens_per_batch=64))
    on_gpu.score(texts[:3])
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("encoding")] == []


def test_windows_of_long_texts_are_pooled_on_a_gpu_too(on_gpu: Predictor, texts: list[str]) -> None:
    windows = TokenWindows(mode="windows", pooling="mean", overlap=0.25, max_windows=4)
    encoder = replace(on_gpu.encoder, truncation=windows)
    scores = score_texts(on_gpu.loaded_engine, encoder, texts)
    encoded = encode(encoder, texts)
    assert len(encoded.ids) > len(texts)
    assert scores.tokens.tolist() == encoded.num_tokens.tolist()
    alone = np.concatenate([score_texts(on_gpu.loaded_engine, encoder, [text]).probabilities for text in texts[-9:]])
    np.testing.assert_allclose(scores.probabilities[-9:], alone, atol=1e-5)


def test_batches_come_as_soon_as_they_are_full(on_gpu: Predictor, texts: list[str]) -> None:
    batches = list(on_gpu.score_in_batches(texts, tokens_per_batch=64))
    assert sorted(np.concatenate([indices for indices, _ in batches]).tolist()) == list(range(len(texts)))
    assert max(batches[0][0]) < 50
    assert restore_order(batches, len(texts)).label_ids.tolist() == on_gpu.score(texts).label_ids.tolist()

"""The asynchronous predictor answers as the predictor does."""

import asyncio
import threading
import time
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sentiment_ray.errors import DataError, TextTooLongError
from sentiment_ray.inference.async_predictor import Answer, AsyncPredictor
from sentiment_ray.inference.predictor import Predictor, pack_bundle
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.text.truncation import TokenWindows
from tests.inference.asynchronous import GOLDEN, NO_LIMITS, TEXTS, assert_equal_bits, use, with_engine


@pytest.fixture(scope="module")
def golden() -> Predictor:
    return Predictor.load(GOLDEN, engine="openvino", threads=1)


def test_answers_equal_those_of_the_predictor_to_the_bit_in_random_companies(golden: Predictor) -> None:
    _try_companies(golden, 200)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_several_streams_give_the_same_bits(engine: str) -> None:
    packed = pack_bundle(GOLDEN, engine=engine, variant="fp32")
    _try_companies(Predictor(packed, threads=2, num_streams=2), 50)


@pytest.mark.slow
def test_answers_equal_those_of_the_predictor_to_the_bit_in_ten_thousand_companies(golden: Predictor) -> None:
    _try_companies(golden, 10_000)


def _try_companies(predictor: Predictor, num_companies: int) -> None:
    """Score random texts together, some calls of one text and some of many, and compare each with its score alone."""
    rng = np.random.default_rng(0)
    alone = [predictor.score([text]) for text in TEXTS]

    async def check(answering: AsyncPredictor, indices: NDArray[np.int64]) -> None:
        answer = await answering.score([TEXTS[index] for index in indices])
        for position, index in enumerate(indices):
            for field in fields(Scores):
                expected = getattr(alone[index], field.name)[0]
                np.testing.assert_array_equal(getattr(answer.scores, field.name)[position], expected)

    async def work(answering: AsyncPredictor) -> None:
        for _ in range(num_companies):
            sizes = rng.choice([1, 1, 1, 2, 5, 20], size=rng.integers(1, 8))
            await asyncio.gather(*(check(answering, rng.integers(0, len(TEXTS), size)) for size in sizes))

    use(predictor, work, limits=NO_LIMITS)


def test_long_texts_read_in_windows_are_pooled_as_the_predictor_does(golden: Predictor) -> None:
    windows = TokenWindows(pooling="mean", overlap=0.25, max_windows=4)
    reader = with_engine(golden, golden.loaded_engine)
    reader.encoder = replace(golden.encoder, truncation=windows)
    texts = ["short", "word and " * 100, "one more", "the shop " * 30]

    async def work(answering: AsyncPredictor) -> list[Answer]:
        return await asyncio.gather(answering.score(texts), *(answering.score([text]) for text in texts))

    together, *single = use(reader, work)
    assert_equal_bits(together.scores, reader.score(texts))
    for text, answer in zip(texts, single, strict=True):
        assert_equal_bits(answer.scores, reader.score([text]))


def test_many_long_texts_become_tokens_in_slices_and_the_loop_goes_on(golden: Predictor) -> None:
    texts = [f"word {index} and some more of it " * 40 for index in range(600)]

    async def work(answering: AsyncPredictor) -> tuple[Answer, list[float]]:
        pauses_s: list[float] = []

        async def watch() -> None:
            while True:
                begun_s = time.perf_counter()
                await asyncio.sleep(0.001)
                pauses_s.append(time.perf_counter() - begun_s)

        watching = asyncio.create_task(watch())
        answer = await answering.score(texts)
        watching.cancel()
        return answer, pauses_s

    answer, pauses_s = use(golden, work)
    assert_equal_bits(answer.scores, golden.score(texts))
    assert np.median(pauses_s) < 0.02


def test_no_text_is_scored_as_an_empty_list(golden: Predictor) -> None:
    answer = use(golden, lambda answering: answering.score([]))
    assert_equal_bits(answer.scores, golden.score([]))


@pytest.mark.parametrize("texts", ["a string", ["good", None], {"text": "good"}])
def test_what_is_no_list_of_texts_is_refused_as_the_predictor_does(golden: Predictor, texts: Any) -> None:
    with pytest.raises(DataError) as expected:
        golden.score(texts)
    with pytest.raises(DataError) as refused:
        use(golden, lambda answering: answering.score(texts))
    assert str(refused.value) == str(expected.value)


def test_a_text_that_would_be_cut_is_refused_before_anything_is_computed(golden: Predictor) -> None:
    async def work(answering: AsyncPredictor) -> int:
        with pytest.raises(TextTooLongError, match=r"texts\[1\] has more than \d+ tokens") as error:
            await answering.score(["short", "word " * 1000], truncate=False)
        assert error.value.index == 1
        assert (await answering.score(["short"], truncate=False)).scores.truncated.tolist() == [False]
        return answering.read_statistics().batches

    assert use(golden, work) == 1


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_several_threads_get_the_bits_that_one_gets(engine: str) -> None:
    predictor = Predictor.load(GOLDEN, engine=engine, threads=1)
    expected = [predictor.score([text]) for text in TEXTS]
    errors: list[BaseException] = []

    def score_all(offset: int) -> None:
        try:
            for index in range(len(TEXTS)):
                index = (index + offset) % len(TEXTS)
                assert_equal_bits(predictor.score([TEXTS[index]]), expected[index])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=score_all, args=(7 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors

"""The asynchronous predictor answers as the predictor does, and no call harms another."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from sentiment_ray.errors import DataError, QueueFullError, TextTooLongError
from sentiment_ray.inference.async_predictor import Answer, AsyncPredictor
from sentiment_ray.inference.batch_statistics import FinishedBatch
from sentiment_ray.inference.predictor import Predictor, pack_bundle
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.text.truncation import TokenWindows
from tests.conftest import NASTY_TEXTS

GOLDEN = Path(__file__).parent.parent / "golden" / "bundle"
Result = TypeVar("Result")
TEXTS = [
    *NASTY_TEXTS,
    *(" ".join(["The bus leaves at nine and I love this little shop."] * count) for count in range(1, 6)),
    *(" ".join(["good"] * count) for count in range(1, 40)),
]


@pytest.fixture(scope="module")
def golden() -> Predictor:
    return Predictor.load(GOLDEN, engine="openvino", threads=1)


class GatedEngine:
    """The engine of a predictor, whose batches wait until `gate` is set, and fail for rows with `poison` in them."""

    name = "gated"

    def __init__(self, engine: Any, poison: int = -1) -> None:
        self._engine, self._poison = engine, poison
        self.gate = threading.Event()
        self.seconds = 0.0
        self.shapes: list[tuple[int, ...]] = []

    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        assert self.gate.wait(10)
        time.sleep(self.seconds)
        self.shapes.append(input_ids.shape)
        if (input_ids == self._poison).any():
            raise MemoryError("no memory for this row")
        return np.asarray(self._engine.logits(input_ids, attention_mask))


def use(predictor: Predictor, work: Callable[[AsyncPredictor], Awaitable[Result]], **options: Any) -> Result:
    async def run() -> Result:
        answering = AsyncPredictor(predictor, **options)
        try:
            return await work(answering)
        finally:
            answering.close()

    return asyncio.run(run())


def with_engine(predictor: Predictor, engine: Any) -> Predictor:
    other = Predictor.__new__(Predictor)
    other.__dict__.update(predictor.__dict__, loaded_engine=engine)
    return other


def assert_equal_bits(left: Scores, right: Scores) -> None:
    for field in fields(Scores):
        ours, theirs = getattr(left, field.name), getattr(right, field.name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


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

    use(predictor, work, max_waiting_tokens=10**9)


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


def test_a_full_queue_refuses_calls_and_takes_them_again_when_it_is_empty(golden: Predictor) -> None:
    engine = GatedEngine(golden.loaded_engine)

    async def work(answering: AsyncPredictor) -> None:
        first = asyncio.create_task(answering.score(["good"]))
        await asyncio.sleep(0.05)
        calls = [asyncio.create_task(answering.score(["good"])) for _ in range(40)]
        await asyncio.sleep(0.05)
        refused = [call for call in calls if call.done() and isinstance(call.exception(), QueueFullError)]
        assert 0 < len(refused) < 40
        assert 0 < answering.read_statistics().waiting_tokens <= 16
        engine.gate.set()
        await asyncio.gather(first, *(call for call in calls if call not in refused))
        await answering.score(["good"])

    use(with_engine(golden, engine), work, max_waiting_tokens=16)


def test_rows_of_cancelled_calls_are_not_computed(golden: Predictor) -> None:
    engine = GatedEngine(golden.loaded_engine)

    async def work(answering: AsyncPredictor) -> None:
        first = asyncio.create_task(answering.score(["good"]))
        await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await answering.score(["The bus leaves at nine."] * 100)
        assert answering.read_statistics().waiting_rows == 0
        engine.gate.set()
        await first
        assert answering.read_statistics().rows == 1

    use(with_engine(golden, engine), work)


def test_a_cancelled_call_whose_batch_runs_leaves_its_neighbours_their_answers(golden: Predictor) -> None:
    engine = GatedEngine(golden.loaded_engine)

    async def work(answering: AsyncPredictor) -> None:
        calls = [asyncio.create_task(answering.score(["good"])) for _ in range(8)]
        await asyncio.sleep(0.05)
        for call in calls[::2]:
            call.cancel()
        engine.gate.set()
        for answer in await asyncio.gather(*calls[1::2]):
            assert_equal_bits(answer.scores, golden.score(["good"]))

    use(with_engine(golden, engine), work)


def test_an_error_of_the_engine_reaches_only_the_calls_whose_rows_cause_it(golden: Predictor) -> None:
    words = "The bus leaves at nine.", "The shop closes at six."
    ids = [set(golden.encoder.tokenizer.encode(text).ids) for text in words]
    engine = GatedEngine(golden.loaded_engine, poison=min(ids[1] - ids[0]))

    async def work(answering: AsyncPredictor) -> list[Any]:
        texts = [words[0], words[1], words[0], words[0]]
        calls = [asyncio.create_task(answering.score([text])) for text in ["good", *texts]]
        await asyncio.sleep(0.05)
        engine.gate.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert answering.read_statistics().failed_batches == 1
        return results

    good, *results = use(with_engine(golden, engine), work)
    assert isinstance(results.pop(1), MemoryError)
    for result in results:
        assert_equal_bits(result.scores, golden.score([words[0]]))


def test_an_error_of_the_queue_does_not_end_the_threads(golden: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(answering: AsyncPredictor) -> None:
        queue = answering._threads._queue
        monkeypatch.setattr(queue, "take", lambda now_s: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            await answering.score(["good"])
        assert_equal_bits((await answering.score(["good"])).scores, golden.score(["good"]))

    use(golden, work)


def test_small_calls_are_not_delayed_by_a_large_one_for_more_than_a_batch(golden: Predictor) -> None:
    engine = GatedEngine(golden.loaded_engine)

    async def work(answering: AsyncPredictor) -> None:
        engine.seconds = 0.005
        large = asyncio.create_task(answering.score(["The bus leaves at nine."] * 1000))
        while not answering.read_statistics().running_batches:
            await asyncio.sleep(0.01)
        small = asyncio.create_task(answering.score(["good"]))
        await asyncio.sleep(0.05)
        engine.gate.set()
        await small
        assert len(engine.shapes) <= 4 and not large.done()
        await large

    use(with_engine(golden, engine), work)


def test_statistics_and_the_observer_count_batches_rows_and_tokens(golden: Predictor) -> None:
    batches: list[FinishedBatch] = []

    async def work(answering: AsyncPredictor) -> None:
        await answering.score(["good"])
        await asyncio.gather(*(answering.score(["good"]) for _ in range(10)))
        await asyncio.sleep(0.05)  # the observer is called after the answers
        statistics = answering.read_statistics()
        assert statistics.rows == sum(batch.num_rows for batch in batches) == 11
        assert statistics.tokens == sum(batch.num_tokens for batch in batches) == 11 * golden.score(["good"]).tokens[0]
        assert statistics.padded_tokens == sum(batch.num_padded_tokens for batch in batches)
        assert statistics.batches == len(batches) == sum(statistics.batches_by_rows.values())
        assert statistics.new_shapes == len({(batch.num_padded_rows, batch.length) for batch in batches})
        assert statistics.waiting_rows == statistics.waiting_tokens == statistics.stalled_s == 0

    def observe(batch: FinishedBatch) -> None:
        batches.append(batch)
        raise ValueError("an error of the observer harms nobody")

    use(golden, work, observe=observe)


def test_after_warm_up_no_batch_has_a_new_shape(golden: Predictor) -> None:
    texts = [text for text in TEXTS if len(text) < 1000]

    async def work(answering: AsyncPredictor) -> None:
        assert await answering.warm_up(seconds=60)
        assert answering.read_statistics().cold_shapes == answering.read_statistics().batches == 0
        for count in (1, 2, 3, 30):
            await asyncio.gather(*(answering.score([text]) for text in texts for _ in range(count)))
        statistics = answering.read_statistics()
        assert statistics.batches > 20 and statistics.new_shapes == 0

    use(golden, work, max_waiting_tokens=10**9)


def test_a_request_does_not_wait_for_the_rest_of_the_warm_up(golden: Predictor) -> None:
    async def work(answering: AsyncPredictor) -> None:
        await answering.warm_up(seconds=0.001)
        await answering.score(["good"])
        assert answering.read_statistics().cold_shapes > 20
        while answering.read_statistics().cold_shapes:
            await asyncio.sleep(0.01)

    use(golden, work)


def test_a_stalled_engine_is_seen(golden: Predictor) -> None:
    engine = GatedEngine(golden.loaded_engine)

    async def work(answering: AsyncPredictor) -> None:
        call = asyncio.create_task(answering.score(["good"]))
        await asyncio.sleep(0.2)
        assert 0.1 < answering.read_statistics().stalled_s < 5
        engine.gate.set()
        await call
        assert answering.read_statistics().stalled_s == 0

    use(with_engine(golden, engine), work)


def test_timings_add_up_to_the_time_of_the_call(golden: Predictor) -> None:
    async def work(answering: AsyncPredictor) -> None:
        begun_s = time.perf_counter()
        timings = (await answering.score(["good"])).timings
        total_ms = timings.tokenization_ms + timings.queue_ms + timings.inference_ms
        assert 0 < total_ms <= 1000 * (time.perf_counter() - begun_s)
        assert min(vars(timings).values()) >= 0

    use(golden, work)


def test_calls_that_wait_fail_when_the_predictor_is_closed(golden: Predictor) -> None:
    engine = GatedEngine(golden.loaded_engine)

    async def work(answering: AsyncPredictor) -> None:
        calls = [asyncio.create_task(answering.score([text])) for text in ("good", "The bus leaves at nine.")]
        await asyncio.sleep(0.05)
        answering.close(wait_s=0)
        with pytest.raises(RuntimeError, match="closed"):
            await calls[1]
        engine.gate.set()
        await calls[0]
        with pytest.raises(RuntimeError, match="closed"):
            await answering.score(["good"])

    use(with_engine(golden, engine), work)


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

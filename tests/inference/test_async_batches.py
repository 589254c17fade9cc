"""Calls share batches, wait in a bounded queue, and none harms another."""

import asyncio
import time
from typing import Any

import pytest

from sentiment_ray.errors import QueueFullError
from sentiment_ray.inference.admission import QueueLimits
from sentiment_ray.inference.async_predictor import AsyncPredictor
from sentiment_ray.inference.batch_statistics import FinishedBatch
from sentiment_ray.inference.predictor import Predictor
from tests.inference.asynchronous import GOLDEN, NO_LIMITS, TEXTS, GatedEngine, assert_equal_bits, use, with_engine


@pytest.fixture(scope="module")
def golden() -> Predictor:
    return Predictor.load(GOLDEN, engine="openvino", threads=1)


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

    use(with_engine(golden, engine), work, limits=QueueLimits(max_tokens=16))


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

    use(golden, work, limits=NO_LIMITS)


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

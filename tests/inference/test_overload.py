"""Twice the load that an engine can answer: some calls are refused at once, and the others wait no longer than said."""

import asyncio
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sentiment_ray.errors import QueueFullError
from sentiment_ray.inference import async_predictor
from sentiment_ray.inference.admission import QueueLimits
from sentiment_ray.inference.async_predictor import Answer, AsyncPredictor
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.text.encoding import encode
from tests.inference.asynchronous import GOLDEN, use, with_engine

TOKENS_PER_S = 10_000
SECONDS = 1.5
LONG_TEXT = "good " * 100
"""Has the most tokens, 32."""


class SlowEngine:
    """An engine of a known speed, without the processor's time."""

    name = "slow"

    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        time.sleep(input_ids.size / TOKENS_PER_S)
        return np.zeros((len(input_ids), 3), dtype=np.float32)


@pytest.fixture(scope="module")
def slow() -> Predictor:
    return with_engine(Predictor.load(GOLDEN, engine="onnxruntime", threads=1), SlowEngine())


async def _send(answering: AsyncPredictor, share: float) -> tuple[list[Answer], int]:
    """Call at a share of the engine's speed, and return the answers and how many calls were refused."""
    num_refused = 0

    async def call() -> Answer | None:
        nonlocal num_refused
        try:
            return await answering.score([LONG_TEXT])
        except QueueFullError:
            num_refused += 1
            return None

    period_s = 32 / TOKENS_PER_S / share
    calls, begun_s = [], time.perf_counter()
    while (now_s := time.perf_counter() - begun_s) < SECONDS:
        while len(calls) * period_s < now_s:
            calls.append(asyncio.create_task(call()))
        await asyncio.sleep(0.002)
    return [answer for answer in await asyncio.gather(*calls) if answer], num_refused


def test_at_twice_the_load_calls_are_refused_and_no_other_waits_for_long(
    slow: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_s = 0.2  # 2,000 tokens, several full batches
    num_encoded = 0

    def count_and_encode(*arguments: Any) -> Any:
        nonlocal num_encoded
        num_encoded += 1
        return encode(*arguments)

    monkeypatch.setattr(async_predictor, "encode", count_and_encode)
    answers, num_refused = use(slow, lambda answering: _send(answering, 2), limits=QueueLimits(max_wait_s=limit_s))
    wait_ms = [answer.timings.queue_ms for answer in answers]
    assert num_refused > 0.2 * len(answers)
    assert len(answers) > 0.6 * SECONDS * TOKENS_PER_S / 32, "the engine has work all the time"
    assert np.percentile(wait_ms, 99) < 1000 * limit_s + 100
    assert np.percentile(wait_ms, 50) > 1000 * limit_s / 4, "no more is refused than must be"
    assert num_encoded < 1.05 * len(answers), "texts become tokens after their call is taken"


def test_below_its_speed_no_call_is_refused(slow: Predictor) -> None:
    answers, num_refused = use(slow, lambda answering: _send(answering, 0.6))
    assert num_refused == 0 and answers


def test_an_idle_engine_takes_any_call_and_a_busy_one_large_calls_up_to_its_backlog(slow: Predictor) -> None:
    limits = QueueLimits(max_wait_s=0.05, max_backlog_s=1e6, max_tokens=3_300)  # a call of 100 texts has 3,200

    async def work(answering: AsyncPredictor) -> list[Any]:
        await answering.score([LONG_TEXT])  # from now on the speed is known
        calls = []
        for _ in range(4):
            calls.append(asyncio.create_task(answering.score([LONG_TEXT] * 100)))
            await asyncio.sleep(0.02)
        small = await asyncio.gather(*(answering.score([LONG_TEXT]) for _ in range(5)))
        assert max(answer.timings.queue_ms for answer in small) < 300, "large calls give way to small ones"
        return await asyncio.gather(*calls, return_exceptions=True)

    results = use(slow, work, limits=limits)
    assert [isinstance(result, QueueFullError) for result in results] == [False, False, True, True]

"""A model that fails, and a client that leaves, end alike through every contract."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sentiment_ray import Predictor
from sentiment_ray.errors import QueueFullError
from sentiment_ray.inference.async_predictor import Answer, AsyncPredictor
from tests.serve.asgi import call_app
from tests.serve.connect import connect
from tests.serve.doors import Ask, Read, read_error
from tests.serve.failing import FailingPredictor

SECRET = "nobody may read this in a log"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (QueueFullError("8,000 tokens wait."), 429, "Overloaded"),
        (TimeoutError(), 504, "Timeout"),
        (RuntimeError(SECRET), 424, "Backend"),
    ],
)
def test_a_failure_has_one_status(
    golden: Predictor,
    door: tuple[Ask, Read],
    error: Exception,
    status: int,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing = FailingPredictor(golden)
    failing.error = error
    with caplog.at_level(logging.ERROR), connect(golden, answering=failing) as client:
        refused = door[0](client, ["tea"], True)
    assert refused.status_code == status
    assert read_error(refused)[1] in (kind, None)
    assert ("retry-after" in refused.headers) == (status == 429)
    assert ("RuntimeError" in caplog.text) == isinstance(error, RuntimeError)
    assert SECRET not in caplog.text + refused.text


class _Broken(AsyncPredictor):
    """A predictor whose scores are no numbers."""

    async def score(self, texts: Sequence[str], *, truncate: bool = True) -> Answer:
        answer = await super().score(texts, truncate=truncate)
        answer.scores.logits[-1, 0] = np.nan
        return answer


def test_a_score_that_is_no_number_is_a_failure(golden: Predictor, door: tuple[Ask, Read]) -> None:
    with connect(golden, answering=_Broken(golden)) as client:
        refused = door[0](client, ["tea", "milk"], True)
    assert refused.status_code == 424
    assert read_error(refused) in [("The model gave a score that is no number.", kind) for kind in ("Backend", None)]


class _Slow(AsyncPredictor):
    """A predictor that never answers, and notes what became of its calls."""

    was_cancelled = False

    async def score(self, texts: Sequence[str], *, truncate: bool = True) -> Answer:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        raise AssertionError


def test_scoring_is_cancelled_when_the_client_has_gone(golden: Predictor) -> None:
    slow = _Slow(golden)
    with connect(golden, answering=slow) as client:
        assert client.portal
        assert client.portal.call(_ask_and_leave, client.app) == []
    assert slow.was_cancelled


async def _ask_and_leave(app: Any) -> list[Any]:
    """Send a request, then disconnect; return what the application sends."""
    messages = [{"type": "http.request", "body": b'{"inputs": "tea"}'}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    return await call_app(app, "/predict", receive, {"content-type": b"application/json"})

"""The async face of a `Predictor`: many callers at once on one event loop; knows no HTTP."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sentiment_ray.errors import TextTooLongError
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.text.truncation import describe_limit


@dataclass(frozen=True)
class Timings:
    """Where the time of one call went, in milliseconds."""

    tokenization_ms: float
    queue_ms: float
    """From the end of tokenization until the first batch with a row of the call began."""
    inference_ms: float


@dataclass(frozen=True)
class Answer:
    """The scores of the texts of one call, in their order."""

    scores: Scores
    timings: Timings


class AsyncPredictor:
    """A `Predictor` that answers many callers at once.

    Cancelling a call drops its rows that still wait, so a deadline is `asyncio.timeout` around `score`.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")

    async def score(self, texts: Sequence[str], *, truncate: bool = True) -> Answer:
        """Return the scores of one or more texts.

        TextTooLongError when `truncate` is false and a text would be cut, before anything is computed. QueueFullError
        when too many tokens wait already. Other errors are those of `Predictor.score`.
        """
        start_s = time.perf_counter()
        scores = await asyncio.get_running_loop().run_in_executor(self._executor, self.predictor.score, texts)
        if not truncate and scores.truncated.any():
            manifest = self.predictor.manifest
            limit = describe_limit(manifest.truncation, manifest.max_tokens)
            index = int(scores.truncated.argmax())
            raise TextTooLongError(f"texts[{index}] has more than {limit}, and truncate is false.", index=index)
        return Answer(scores, Timings(0.0, 0.0, 1000 * (time.perf_counter() - start_s)))

    def close(self) -> None:
        """End the threads; calls that still wait fail."""
        self._executor.shutdown(wait=False, cancel_futures=True)

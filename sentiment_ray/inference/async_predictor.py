"""The async face of a `Predictor`: many callers at once, on event loops; knows no HTTP."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from sentiment_ray.errors import TextTooLongError
from sentiment_ray.inference.admission import QueueLimits
from sentiment_ray.inference.batch_statistics import Statistics
from sentiment_ray.inference.batch_threads import BatchThreads, Call, Observer
from sentiment_ray.inference.predictor import Prediction, Predictor, make_predictions
from sentiment_ray.inference.scoring import Scores, check_texts, make_scores, score_no_texts
from sentiment_ray.text.encoding import Encoded, encode, join_encoded, pool_logits
from sentiment_ray.text.truncation import describe_limit

CHARACTERS_IN_LOOP = 4096
"""Texts with fewer characters become tokens on the event loop, in about 1 ms; a hop to a thread takes 0.1 ms."""
CHARACTERS_PER_SLICE = 16_384
"""Characters of longer texts that become tokens in one piece, between which other calls have their turn."""
WARM_UP_S = 0.5
CLOSE_S = 5.0


@dataclass(frozen=True)
class Timings:
    """Where the time of one call went, in milliseconds."""

    tokenization_ms: float
    queue_ms: float
    """From the end of tokenization until the first batch with a row of the call began."""
    inference_ms: float
    """From then until the last batch with a row of the call ended."""


@dataclass(frozen=True)
class Answer:
    """The scores of the texts of one call, in their order."""

    scores: Scores
    timings: Timings


class AsyncPredictor:
    """A `Predictor` that answers many callers at once, in batches that they share.

    `limits` bound how long a call may have to wait; one that would wait for longer is refused at once (see
    `Admission`). `observe` is called after each batch, in the thread of the engine, and must be quick.

    Cancelling a call drops its rows that still wait, so a deadline is `asyncio.timeout` around `score`. `async with`
    warms the engine up, and ends its threads at the end.

    Where `Predictor.is_batch_invariant` says yes, the scores have the bits of `Predictor.score`. Elsewhere they depend
    on the texts that share a batch, by as much as the bundle's gate found and allowed.

    Example:
        >>> async with AsyncPredictor(Predictor.load("runs/demo/bundle")) as predictor:
        ...     print((await predictor.predict(["This is a cherry pie."]))[0].label)
        neutral
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        limits: QueueLimits | None = None,
        observe: Observer | None = None,
    ) -> None:
        self.predictor = predictor
        self._encoding = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoding")
        self._threads = BatchThreads(
            predictor.loaded_engine,
            predictor.encoder,
            num_threads=predictor.num_streams,
            limits=limits or QueueLimits(),
            observe=observe,
        )

    async def __aenter__(self) -> "AsyncPredictor":
        await self.warm_up()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def score(self, texts: Sequence[str], *, truncate: bool = True) -> Answer:
        """Return the scores of one or more texts.

        TextTooLongError when `truncate` is false and a text would be cut, before anything is computed. QueueFullError
        when the call would wait for too long. Other errors are those of `Predictor.score`.
        """
        begun_s = time.perf_counter()
        texts = check_texts(texts)
        if not texts:
            return Answer(score_no_texts(len(self.predictor.labels)), Timings(0.0, 0.0, 0.0))
        self._threads.check_room()
        encoded = await self._encode(texts)
        if not truncate:
            self._refuse_truncated(encoded)
        encoded_s = time.perf_counter()
        call = Call(encoded.ids, asyncio.get_running_loop().create_future())
        self._threads.add(call)
        try:
            await call.done
        finally:
            self._threads.remove(call)
        return Answer(
            self._make_scores(encoded, call),
            Timings(
                tokenization_ms=1000 * (encoded_s - begun_s),
                queue_ms=1000 * (call.begun_s - encoded_s),
                inference_ms=1000 * (call.ended_s - call.begun_s),
            ),
        )

    async def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return a Prediction for each text, in order; errors are those of `score`."""
        return make_predictions((await self.score(texts)).scores, self.predictor.labels)

    async def warm_up(self, *, seconds: float = WARM_UP_S) -> bool:
        """Let the engine compute a batch of every shape once, and return after some seconds whether all were computed.

        The first batch of a shape takes longer than later ones. One text of each length comes first. What is left is
        computed when nothing waits.
        """
        return await asyncio.get_running_loop().run_in_executor(self._encoding, self._threads.warm_up, seconds)

    def check_room(self) -> None:
        """Raise QueueFullError when no call is taken at the moment, however small it is."""
        self._threads.check_room()

    def read_statistics(self) -> Statistics:
        """Return what the engine has done until now, and what waits for it."""
        return self._threads.read_statistics()

    def close(self, *, wait_s: float = CLOSE_S) -> None:
        """End the threads; calls that still wait fail.

        At most `wait_s` seconds are waited for the batches that are being computed. A process that ended meanwhile
        could crash, as an engine computes outside of Python.
        """
        self._encoding.shutdown(wait=False, cancel_futures=True)
        self._threads.close()
        self._threads.wait_closed(seconds=wait_s)

    async def _encode(self, texts: Sequence[str]) -> Encoded:
        """Turn texts into tokens: few characters at once, and many in a thread, slice by slice."""
        encoder = self.predictor.encoder
        if sum(map(len, texts)) <= CHARACTERS_IN_LOOP:
            return encode(encoder, texts)
        loop = asyncio.get_running_loop()
        slices = _slice_texts(texts)
        return join_encoded([await loop.run_in_executor(self._encoding, encode, encoder, part) for part in slices])

    def _refuse_truncated(self, encoded: Encoded) -> None:
        if encoded.truncated.any():
            manifest = self.predictor.manifest
            limit = describe_limit(manifest.truncation, manifest.max_tokens)
            index = int(encoded.truncated.argmax())
            raise TextTooLongError(f"texts[{index}] has more than {limit}, and truncate is false.", index=index)

    def _make_scores(self, encoded: Encoded, call: Call) -> Scores:
        assert call.logits is not None
        logits = pool_logits(call.logits, encoded.text_indices, self.predictor.encoder.truncation)
        return make_scores(logits, tokens=encoded.num_tokens, truncated=encoded.truncated, unknown=encoded.num_unknown)


def _slice_texts(texts: Sequence[str]) -> list[list[str]]:
    """Cut texts into slices of at most CHARACTERS_PER_SLICE characters, or of one longer text."""
    ends = np.cumsum([len(text) for text in texts])
    slices: list[list[str]] = []
    start = 0
    while start < len(texts):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + CHARACTERS_PER_SLICE, side="right")))
        slices.append(list(texts[start:end]))
        start = end
    return slices

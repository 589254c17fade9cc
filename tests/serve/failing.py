"""A predictor whose every call fails."""

from collections.abc import Sequence

from sentiment_ray.inference.async_predictor import Answer, AsyncPredictor


class FailingPredictor(AsyncPredictor):
    """A predictor whose every call fails with one error."""

    error: Exception

    async def score(self, texts: Sequence[str], *, truncate: bool = True) -> Answer:
        raise self.error

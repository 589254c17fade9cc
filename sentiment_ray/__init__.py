"""Sentiment of reviews, from training on Ray to serving. The root of the package has the light predictors only."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sentiment_ray.inference.predictor import Prediction, Predictor

if TYPE_CHECKING:
    from sentiment_ray.inference.async_predictor import AsyncPredictor

__all__ = ["AsyncPredictor", "Prediction", "Predictor", "__version__"]
__version__ = version("sentiment-ray")


def __getattr__(name: str) -> Any:
    """Load the asynchronous predictor when it is used: importing asyncio would delay a first answer without it."""
    if name != "AsyncPredictor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sentiment_ray.inference.async_predictor import AsyncPredictor

    return AsyncPredictor

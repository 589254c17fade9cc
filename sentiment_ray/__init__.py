"""Sentiment of reviews, from training on Ray to serving. The root of the package has the light `Predictor` only."""

from importlib.metadata import version

from sentiment_ray.inference.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor", "__version__"]
__version__ = version("sentiment-ray")

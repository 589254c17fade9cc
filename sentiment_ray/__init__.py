"""Sentiment of reviews, from training on Ray to answers: this package's root offers the light `Predictor` alone."""

from importlib.metadata import version

from sentiment_ray.inference.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor", "__version__"]
__version__ = version("sentiment-ray")

"""A client of the service in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi.testclient import TestClient

from sentiment_ray import Predictor
from sentiment_ray.inference.async_predictor import AsyncPredictor
from sentiment_ray.serve.api_key import ApiKeys
from sentiment_ray.serve.app import create_app
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.service import Service, State


@contextmanager
def connect(
    predictor: Predictor, *, api_key: str | None = None, answering: AsyncPredictor | None = None, **keys: Any
) -> Iterator[TestClient]:
    """Yield a client of the service around a Predictor; `keys` are those of [serve].

    `answering` takes the place of the Predictor's own asynchronous face.
    """
    answering = answering or AsyncPredictor(predictor)
    service = Service(
        ServeConfig(bundle="unused", **keys), answering, ApiKeys([api_key] if api_key else []), State.READY
    )
    with TestClient(create_app(service)) as client:
        yield client
    answering.close()

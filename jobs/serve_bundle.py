"""The service on Ray Serve: `serve run jobs.serve_bundle:build bundle=runs/demo/bundle api_key_file=key.txt`."""

import asyncio
from typing import Any

from ray import serve

from sentiment_ray.errors import ConfigError
from sentiment_ray.serve.api_key import read_api_keys
from sentiment_ray.serve.app import create_app
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.http import AsgiApp
from sentiment_ray.serve.reload import load_predictor
from sentiment_ray.serve.server import run_service


@serve.deployment
@serve.ingress()
class SentimentService:
    """One replica: the application of `sentiment-ray serve`, with its own engine.

    It has no `@serve.batch`, which waits up to `batch_wait_timeout_s` for a batch to fill: the engine takes what waits
    when it is free, and never waits for more.
    """

    async def __init__(self, values: dict[str, Any]) -> None:  # type: ignore[misc]
        config = ServeConfig(**values)
        predictor = await asyncio.to_thread(load_predictor, config)
        self._running = run_service(config, predictor, read_api_keys(config.api_key_file))
        self._service = await self._running.__aenter__()
        self._service.reload = None  # it would reach one replica; `serve deploy` replaces all

    def __serve_build_asgi_app__(self) -> AsgiApp:
        return create_app(self._service)

    def check_health(self) -> None:
        """Fail when the engine has not moved for a while although texts wait: Ray Serve then replaces the replica."""
        if not self._service.is_ready():
            raise RuntimeError("The engine does not move.")

    async def __del__(self) -> None:
        await self._running.__aexit__(None, None, None)


def build(values: dict[str, Any]) -> serve.Application:
    """Return the application for `serve run` and `serve deploy`; `values` are keys of [serve].

    ConfigError without an API key: the token of a Ray cluster does not protect the ports of Ray Serve.
    """
    config = ServeConfig(**values)
    if not config.api_key_file:
        raise ConfigError("Ray Serve lets other machines connect. Pass api_key_file=FILE; every node needs the file.")
    deployment: Any = SentimentService
    return deployment.bind(config.model_dump())

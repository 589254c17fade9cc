"""Starts the service: checks the keys, takes the address, loads the bundle, serves; knows nothing of requests."""

import asyncio
import socket

import uvicorn

from sentiment_ray import log
from sentiment_ray.errors import ConfigError
from sentiment_ray.inference.async_predictor import AsyncPredictor
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.serve.address import bind, describe_address, is_loopback, listen
from sentiment_ray.serve.api_key import read_api_key
from sentiment_ray.serve.app import create_app
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.draining import Server, make_protocol
from sentiment_ray.serve.service import Service, State


def serve(config: ServeConfig) -> None:
    """Serve a bundle until the process is asked to stop; requests that have begun are answered first.

    ConfigError when the address cannot be taken, or when other machines could connect and there is no API key.
    """
    api_keys = [read_api_key(file) for file in config.api_key_file]
    if not api_keys and not is_loopback(config.host):
        raise ConfigError(
            f"host = {config.host!r} lets other machines connect. Pass --api-key-file FILE, or listen on 127.0.0.1."
        )
    with bind(config.host, config.port) as listener:  # before the bundle is loaded, so a taken port is named at once
        predictor = Predictor.load(
            config.bundle,
            engine=config.engine,
            variant=config.variant,
            threads=config.threads,
            require_signature=config.require_signature,
        )
        with asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:
            runner.run(_run(config, predictor, next(iter(api_keys), None), listener))


async def _run(config: ServeConfig, predictor: Predictor, api_key: str | None, listener: socket.socket) -> None:
    service = Service(config, AsyncPredictor(predictor), api_key, State.READY)
    server = _make_server(service)
    listen(listener, config.host, config.port)
    log.notify(
        f"serving bundle {predictor.manifest.bundle_id} ({predictor.variant} with {predictor.engine}) "
        f"on {describe_address(listener)}/predict"
    )
    await server.serve(sockets=[listener])
    service.predictor.close()


def _make_server(service: Service) -> Server:
    config = service.config
    uvicorn_config = uvicorn.Config(
        create_app(service),
        http=make_protocol(config.read_limit_s),
        ws="none",
        lifespan="off",
        log_level="error",  # its warnings are about single requests, as Java's wish for HTTP/2 is
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who the client is decides about /admin, so no header may say it
        timeout_keep_alive=config.keep_alive_s,  # type: ignore[arg-type]
    )

    def begin_drain() -> None:
        service.state = State.DRAINING

    return Server(uvicorn_config, pause_s=config.drain_pause_s, limit_s=config.drain_limit_s, on_drain=begin_drain)

"""Starts the service: takes the address, opens the state, moves jobs on, answers requests; ends without losing one."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import orjson
import uvicorn

from sentiment_ray import log
from sentiment_ray.http_server.access_log import start_access_log
from sentiment_ray.http_server.address import bind, describe_address, listen
from sentiment_ray.http_server.draining import Server
from sentiment_ray.http_server.protocol import make_protocol
from sentiment_ray.openai_api.api_error import ApiError
from sentiment_ray.openai_api.app import create_app
from sentiment_ray.openai_api.config import OpenAiApiConfig
from sentiment_ray.openai_api.controller import Controller
from sentiment_ray.openai_api.database import open_database
from sentiment_ray.openai_api.files import remove_orphans
from sentiment_ray.openai_api.service import Service
from sentiment_ray.openai_api.state_directory import make_state_directory, remove_unfinished_uploads

HEAD_LIMIT_S = 10.0
"""How long the head of a request may take."""
KEEP_ALIVE_S = 75
DRAIN_LIMIT_S = 20.0
"""How long requests that have begun may take after the service was asked to stop."""


def serve(config: OpenAiApiConfig) -> None:
    """Serve until the process is asked to stop; requests that have begun are answered first.

    ConfigError when the address cannot be taken or the state cannot be opened.
    """
    with bind(config.host, config.port) as listener, open_service(config) as service:
        service.models.base_models.start()
        server = make_server(service)
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(serve_on(listener, service, server))


@contextlib.contextmanager
def open_service(config: OpenAiApiConfig) -> Iterator[Service]:
    """Open the state of a service, which is made if it is not there. ConfigError when that fails."""
    state = make_state_directory(config.state)
    remove_unfinished_uploads(state)
    database = open_database(state, config.database)
    remove_orphans(database, state)
    try:
        yield Service(config, database, state)
    finally:
        database.close()


async def serve_on(listener: socket.socket, service: Service, server: Server) -> None:
    """Serve in this process, on a bound socket, until the server is asked to stop."""
    access_log = start_access_log() if service.config.access_log else None
    controller = Controller(service)
    try:
        with server.capture_signals():
            listen(listener, service.config.host, service.config.port)
            controller.start()
            log.notify(f"serving the OpenAI API on {describe_address(listener)}/v1")
            await server.serve(sockets=[listener])
    finally:
        await asyncio.to_thread(controller.stop)
        await service.models.close()
        if access_log:
            access_log.stop()
    if server.num_cut_off:
        log.notify(f"requests that were cut off when the service ended: {server.num_cut_off}")


def make_server(service: Service) -> Server:
    """Return the HTTP server of a service."""
    slow_head = ApiError(408, "The head of the request came too slowly.", code="request_timeout")
    config = uvicorn.Config(
        create_app(service),
        http=make_protocol(HEAD_LIMIT_S, orjson.dumps(slow_head.make_body())),
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    return Server(config, pause_s=0, limit_s=DRAIN_LIMIT_S, on_drain=lambda: None)

"""Starts the service: checks the keys, takes the address, loads the bundle, serves; knows nothing of requests."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import uvicorn

from sentiment_ray import log
from sentiment_ray.errors import ConfigError, SentimentRayError
from sentiment_ray.http_server.access_log import start_access_log
from sentiment_ray.http_server.address import bind, describe_address, is_loopback, listen
from sentiment_ray.http_server.draining import Server
from sentiment_ray.http_server.protocol import make_protocol
from sentiment_ray.inference.async_predictor import AsyncPredictor
from sentiment_ray.serve.api_key import ApiKeys, read_api_keys
from sentiment_ray.serve.app import create_app
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.reload import Reloader, load_predictor
from sentiment_ray.serve.service import Service, State
from sentiment_ray.serve.shadow import Shadow
from sentiment_ray.serve.tracing import start_tracing

METRICS_PERIOD_S = 1.0


@dataclass(frozen=True)
class Supervision:
    """What a process tells its supervisor, and the pipe that ends when the supervisor does."""

    pipe: int
    announce: Callable[[str], None]
    note_reload: Callable[[], None]


def serve(config: ServeConfig) -> None:
    """Serve a bundle until the process is asked to stop; requests that have begun are answered first.

    ConfigError when the address cannot be taken, or when other machines could connect and there is no API key.
    """
    api_keys = read_api_keys(config.api_key_file)
    if not api_keys and not is_loopback(config.host):
        raise ConfigError(
            f"host = {config.host!r} lets other machines connect. Pass --api-key-file FILE, or listen on 127.0.0.1."
        )
    with bind(config.host, config.port) as listener:  # before the bundle is loaded, so a taken port is named at once
        if config.workers > 1:
            from sentiment_ray.serve.supervisor import supervise

            supervise(config, listener)
        else:
            serve_on(listener, config)


def serve_on(listener: socket.socket, config: ServeConfig, supervision: Supervision | None = None) -> None:
    """Serve a bundle in this process, on a bound socket, until it is asked to stop."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the bundle is loaded, there is nothing to reload
    predictor = load_predictor(config)
    with asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:
        runner.run(_serve_on(listener, config, predictor, supervision))


async def _serve_on(
    listener: socket.socket, config: ServeConfig, predictor: AsyncPredictor, supervision: Supervision | None
) -> None:
    async with run_service(config, predictor, read_api_keys(config.api_key_file)) as service:
        server = _make_server(service)
        loaded = predictor.predictor
        bundle = f"bundle {loaded.manifest.bundle_id} ({loaded.variant} with {loaded.engine})"
        with server.capture_signals():  # from the first connection on, a signal drains
            listen(listener, config.host, config.port)
            if supervision:
                service.after_reload = supervision.note_reload
                asyncio.get_running_loop().add_reader(supervision.pipe, server.drain)
                supervision.announce(bundle)
            else:
                log.notify(f"serving {bundle} on {describe_address(listener)}/predict")
            await server.serve(sockets=[listener])
        if server.num_cut_off:
            log.notify(f"requests that were cut off at the drain limit: {server.num_cut_off}")


@contextlib.asynccontextmanager
async def run_service(config: ServeConfig, predictor: AsyncPredictor, api_keys: ApiKeys) -> AsyncIterator[Service]:
    """Yield a service that is ready, with what runs beside its requests; needs a running event loop."""
    service = Service(config, predictor, api_keys)
    service.reload = Reloader(service).reload
    access_log = start_access_log() if config.access_log else None
    service.tracing = start_tracing()
    if config.shadow is not None:
        service.shadow = await Shadow.start(config, service.metrics)
    await predictor.warm_up()
    service.state = State.READY
    updating = asyncio.create_task(_update_metrics(service))
    try:
        with _reload_on_hangup(service):
            yield service
    finally:
        updating.cancel()
        if service.shadow:
            await service.shadow.close()
        service.predictor.close()
        if access_log:
            access_log.stop()
        if service.tracing:
            service.tracing.close()


async def _update_metrics(service: Service) -> None:
    while True:
        await asyncio.sleep(METRICS_PERIOD_S)
        try:
            service.metrics.update(service.predictor)
        except Exception as error:  # a mistake in counting must not end the counting
            log.log_bug(error, "the metrics")


@contextlib.contextmanager
def _reload_on_hangup(service: Service) -> Iterator[None]:
    """Reload the bundle on SIGHUP."""
    loop = asyncio.get_running_loop()
    reloading: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        assert service.reload
        with contextlib.suppress(SentimentRayError):  # it is logged
            bundle_id = await service.reload()
            log.notify(f"reloaded bundle {bundle_id}")

    def begin() -> None:
        task = loop.create_task(reload())
        reloading.add(task)
        task.add_done_callback(reloading.discard)

    try:
        loop.add_signal_handler(signal.SIGHUP, begin)
    except (RuntimeError, ValueError):  # not the main thread
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


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

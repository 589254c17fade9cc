"""Starts the service on uvicorn: takes the address, loads the bundle, serves; knows nothing of requests."""

import contextlib
import errno
import ipaddress
import os
import socket

import uvicorn

from sentiment_ray import log
from sentiment_ray.errors import ConfigError
from sentiment_ray.inference.async_predictor import AsyncPredictor
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.serve.api_key import read_api_key
from sentiment_ray.serve.app import create_app
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.service import Service, State

BACKLOG = 2048
"""How many connections wait to be accepted; uvicorn's own number."""
SHUTDOWN_S = 20
"""How long requests that have begun may take after the service is asked to stop."""


def serve(config: ServeConfig) -> None:
    """Serve a bundle until the process is asked to stop; requests that have begun are answered first.

    ConfigError when the address cannot be taken, or when other machines could connect and there is no API key.
    """
    api_key = read_api_key(config.api_key_file) if config.api_key_file is not None else None
    if not api_key and not _is_loopback(config.host):
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
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(Service(config, AsyncPredictor(predictor), api_key, State.READY)),
                log_level="error",  # its warnings are about single requests, as Java's wish for HTTP/2 is
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=SHUTDOWN_S,  # a stalled upload must not delay the shutdown for ever
            )
        )
        listen(listener, config.host, config.port)
        log.notify(
            f"serving bundle {predictor.manifest.bundle_id} ({predictor.variant} with {predictor.engine}) "
            f"on {describe_address(listener)}/predict"
        )
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again when it has shut down
            server.run(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """Return a TCP socket that is bound to an address and does not listen yet; port 0 takes a free port.

    A name with several addresses is bound to its first of IPv4. ConfigError when the address cannot be taken.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"host = {host!r} is no known address ({error}). Name one of this machine.") from None
    family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port whose last owner has just gone is free
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _explain(error, host, port) from None
    return bound


def listen(bound: socket.socket, host: str, port: int) -> None:
    """Begin to listen; ConfigError when another process has taken the address since it was bound."""
    try:
        bound.listen(BACKLOG)
    except OSError as error:
        raise _explain(error, host, port) from None


def describe_address(bound: socket.socket) -> str:
    """Return the URL of a bound socket, with the port that it really has."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _explain(error: OSError, host: str, port: int) -> ConfigError:
    """Return what is wrong with an address that cannot be taken, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return ConfigError(f"port = {port} on {host} is taken. Choose another; --port 0 takes a free one.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigError(f"port = {port} needs rights that this process does not have. Choose one from 1024 on.")
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return ConfigError(f"host = {host!r} is no address of this machine. Choose one, such as 127.0.0.1.")
    reason = os.strerror(error.errno) if error.errno else error
    return ConfigError(f"host = {host!r}, port = {port}: no service can listen there ({reason}). Choose another.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""Starts the service on uvicorn: reads the API key, checks the address; knows nothing of requests."""

import ipaddress
from pathlib import Path

import uvicorn

from sentiment_ray import log
from sentiment_ray.errors import ConfigError
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.serve.app import create_app
from sentiment_ray.serve.config import ServeConfig

SHUTDOWN_S = 20
"""How long requests that have begun may take after the service is asked to stop."""


def serve(config: ServeConfig) -> None:
    """Serve a bundle until the process is asked to stop; requests that have begun are answered first.

    ConfigError when other machines could connect and there is no API key.
    """
    api_key = _read_key(config.api_key_file)
    if not api_key and not _is_loopback(config.host):
        raise ConfigError(
            f"host = {config.host!r} lets other machines connect. Pass --api-key-file FILE, or listen on 127.0.0.1."
        )
    predictor = Predictor.load(config.bundle, require_signature=config.require_signature)
    log.notify(
        f"serving bundle {predictor.manifest.bundle_id} ({predictor.variant} with {predictor.engine}) "
        f"on http://{config.host}:{config.port}/predict"
    )
    app = create_app(predictor, config, api_key=api_key)
    uvicorn.run(
        app,
        host=config.host,
        port=config.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,  # a stalled upload must not delay the shutdown for ever
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_key(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        key = (Path(file).read_text(encoding="utf-8").splitlines() or [""])[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"api_key_file = {file!r} cannot be read ({error}). Name a text file with the key in its first line."
        ) from None
    if not key:
        raise ConfigError(f"api_key_file = {file!r} has an empty first line. Write the key there.")
    return key

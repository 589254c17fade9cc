"""Starts the service of one bundle on uvicorn; knows addresses and keys, nothing of requests."""

import ipaddress
from pathlib import Path

import click
import uvicorn

from sentiment_ray.errors import ConfigError
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.serve.app import create_app
from sentiment_ray.serve.config import ServeConfig

DRAIN_S = 20


def serve(config: ServeConfig) -> None:
    """Serve a bundle until the process is asked to stop; requests under way are answered first.

    ConfigError when an address other than loopback has no key.
    """
    api_key = _read_key(config.api_key_file)
    if not api_key and not _is_loopback(config.host):
        raise ConfigError(
            f"host = {config.host!r} is open to other machines. Pass --api-key-file FILE, or listen on 127.0.0.1."
        )
    predictor = Predictor.load(config.bundle, require_signature=config.require_signature)
    click.echo(
        f"serving bundle {predictor.manifest.bundle_id} ({predictor.variant} with {predictor.engine}) "
        f"on http://{config.host}:{config.port}/predict",
        err=True,
    )
    app = create_app(predictor, config, api_key=api_key)
    uvicorn.run(
        app,
        host=config.host,
        port=config.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,  # an upload that stalls must not hold up the end
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
        raise ConfigError(f"api_key_file = {file!r} cannot be read ({error}). Name a text file with the key.") from None
    if not key:
        raise ConfigError(f"api_key_file = {file!r} is empty. Write a key into its first line.")
    return key

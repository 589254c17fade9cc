"""The keys of [serve]; imports no web framework, so `--help` is quick."""

from typing import Annotated

from pydantic import Field

from sentiment_ray.config.sections import SectionConfig
from sentiment_ray.engine_specs import list_engines


class ServeConfig(SectionConfig):
    """Keys of [serve]."""

    bundle: str
    """Directory that export_bundle wrote."""
    engine: str = Field("auto", description=f"auto, {list_engines()}. auto takes the fastest here.")
    variant: str = "auto"
    """Variant of the bundle, which `sentiment-ray inspect` shows. auto takes the fastest here."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of the engine. The default is one for each core, at most the CPU quota."""
    require_signature: str | None = None
    """File with a public key (PEM). A bundle that its owner did not sign is refused."""
    host: str = "127.0.0.1"
    """Address to listen on; any address but loopback needs an api_key_file."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port to listen on; 0 takes a free one."""
    max_body_bytes: Annotated[int, Field(ge=1)] = 2_000_000
    """Largest body of a request; a larger one is answered with 413."""
    max_texts: Annotated[int, Field(ge=1)] = 1000
    """Most texts in a request; more are answered with 422."""
    api_key_file: str | None = None
    """File whose first line is the API key; every request must send it as `Authorization: Bearer KEY`."""

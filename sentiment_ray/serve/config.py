"""The keys of [serve]; imports no web framework, so `--help` is quick."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from sentiment_ray.config.sections import Names, SectionConfig, Share
from sentiment_ray.engine_specs import list_engines


class ServeConfig(SectionConfig):
    """Keys of [serve]."""

    bundle: str
    """Directory that export_bundle wrote."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] = "sentiment"
    """Name of the model in paths of the Open Inference Protocol and in the answer to GET /info."""
    engine: str = Field("auto", description=f"auto, {list_engines()}. auto takes the fastest here.")
    variant: str = "auto"
    """Variant of the bundle, which `sentiment-ray inspect` shows. auto takes the fastest here."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of the engine. The default is one for each core, at most the CPU quota."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that share the socket, each with its own engine and its part of the cores, as `threads` by default."""
    optimize_for: Literal["latency", "throughput"] = "throughput"
    """latency takes the file that is fastest here for single texts, throughput the one for many requests at once."""
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
    max_wait_ms: Annotated[float, Field(gt=0)] = 50
    """How long a request may wait for the model; one that would wait for longer is answered with 429 at once."""
    max_waiting_tokens: Annotated[int, Field(ge=1)] = 200_000
    """When so many tokens wait for the model, requests are answered with 429, however fast it is."""
    api_key_file: Names = ()
    """Files, with commas between them, whose first lines are API keys; requests send `Authorization: Bearer KEY`."""
    keep_alive_s: Annotated[float, Field(gt=0)] = 75
    """How long an idle connection is kept. A load balancer must close its idle connections sooner; 60 s is usual."""
    read_limit_s: Annotated[float, Field(gt=0)] = 10
    """How long the head of a request may take, and its body; a slower one is answered with 408."""
    deadline_s: Annotated[float, Field(gt=0)] = 30
    """How long an answer may take; then the request is answered with 504."""
    drain_pause_s: Annotated[float, Field(ge=0)] = 5
    """How long the service goes on after SIGTERM while readiness is 503, until load balancers send no more."""
    drain_limit_s: Annotated[float, Field(gt=0)] = 25
    """How long the process may take to end after SIGTERM, the pause included; then open requests are cut off."""
    stall_limit_s: Annotated[float, Field(gt=0)] = 15
    """Readiness is 503 when texts wait and the engine has not finished a batch for so long."""
    access_log: bool = False
    """Write one JSON line on stderr for each request; no text and no key is in it."""
    shadow: str | None = None
    """A second bundle, which scores a share of the texts later, for comparison; see `sentiment_ray_shadow_…`."""
    shadow_share: Share = 0.1
    """Which share of the texts the second bundle scores."""

    @field_validator("api_key_file", mode="before")
    @classmethod
    def _refuse_no_name(cls, value: Any) -> Any:
        if value == "":  # a variable of a shell that is not set must not open the service
            raise ValueError("it is empty. Name a file, or leave the key out")
        return value

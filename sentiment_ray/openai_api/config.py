"""The keys of [openai_api]; imports no web framework and no database, so `--help` is quick."""

from typing import Annotated, Literal

from pydantic import Field

from sentiment_ray.config.sections import Names, SectionConfig


class OpenAiApiConfig(SectionConfig):
    """Keys of [openai_api]."""

    state: str
    """Directory on a local disk that holds the database, the uploads, the jobs and the models."""
    models: dict[str, str] = Field(default_factory=dict)
    """Model ids that may be asked and fine-tuned, each with an encoder's directory, a Hub name or a run's directory."""
    labels: Names = ("Negative", "Neutral", "Positive")
    """Labels of an encoder that is asked before it is fine-tuned; it answers with the nearest one."""
    organization: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] = "local"
    """The part of a fine-tuned model's id that names its owner."""
    database: str | None = None
    """URL of a PostgreSQL database, as postgresql+psycopg://…; by default state.sqlite in the state directory."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one."""
    access_log: bool = False
    """Write one JSON line on stderr for each request; no text and no key is in it."""
    max_running_jobs: Annotated[int, Field(ge=1)] | None = None
    """Jobs that run at once, others stay queued. By default 1, and on a Ray cluster as many as it has room for."""
    cpus_per_job: Annotated[float, Field(gt=0)] = 1.0
    """On a Ray cluster: CPUs with which a job trains."""
    max_tokens: Annotated[int, Field(ge=3)] = 128
    """Largest number of tokens that a fine-tuned model reads of a text."""
    use_gpu: bool = False
    """Train on a GPU."""
    unknown_system_message: Literal["notice", "refuse"] = "notice"
    """What a chat gets whose system message was not in the training file: a header with a notice, or an error."""
    max_loaded_models: Annotated[int, Field(ge=1)] = 4
    """Models that stay in memory; of more, the one that was asked longest ago is unloaded."""
    max_file_bytes: Annotated[int, Field(ge=1)] = 512 << 20
    """Largest upload; a larger one is answered with 413."""
    max_body_bytes: Annotated[int, Field(ge=1)] = 4 << 20
    """Largest body of any other request."""
    max_line_bytes: Annotated[int, Field(ge=1)] = 1 << 20
    """Longest line of an uploaded file."""
    max_project_bytes: Annotated[int, Field(ge=1)] = 20 << 30
    """Largest sum of a project's uploads; then uploads are answered with 429."""
    max_queued_jobs: Annotated[int, Field(ge=1)] = 50
    """Most jobs and batches of a project that have not ended; then new ones are answered with 429."""
    max_requests_per_minute: Annotated[int, Field(ge=1)] = 60_000
    """Most requests of a project in a minute; then they are answered with 429."""
    max_batch_requests: Annotated[int, Field(ge=1)] = 1_000_000
    """Most requests in a batch's file."""

"""The tables of the database. Times are whole seconds since 1970, as the API has them; ids are those of the API."""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ID_LENGTH = 64
CONSTRAINT_NAMES = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
}
"""A later migration finds a constraint by its name."""


class AnyText(TypeDecorator[str]):
    """Text of strangers: what PostgreSQL cannot hold, U+0000 and halves of surrogate pairs, becomes U+FFFD or ?."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the text that is sent to the database."""
        return None if value is None else value.replace("\0", "\ufffd").encode(errors="replace").decode()


class AnyId(AnyText):
    """An id, which may be a stranger's too when it is looked for."""

    impl = String(ID_LENGTH)  # type: ignore[assignment]
    cache_ok = True


class Table(DeclarativeBase):
    """The base class of all tables."""

    metadata = MetaData(naming_convention=CONSTRAINT_NAMES)
    type_annotation_map = {dict[str, Any]: JSON, list[str]: JSON, int: BigInteger, str: AnyText}  # noqa: RUF012


class Project(Table):
    """Whoever owns keys, files, jobs, models and batches; one project sees nothing of another."""

    __tablename__ = "projects"
    id: Mapped[str] = mapped_column(AnyId, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[int]


class Key(Table):
    """An API key, of which only the sha256 is kept."""

    __tablename__ = "keys"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    created_at: Mapped[int]
    revoked_at: Mapped[int | None]


class File(Table):
    """An upload or a result; its bytes are `files/ID` in the state directory."""

    __tablename__ = "files"
    id: Mapped[str] = mapped_column(AnyId, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    filename: Mapped[str]
    purpose: Mapped[str]
    num_bytes: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[int]
    request_digest: Mapped[str | None] = mapped_column(String(64))
    """What was asked; a create that is sent again finds the first one by it."""
    last_retry: Mapped[int] = mapped_column(default=0)
    """How often the create had been sent before it was answered last."""
    deleted_at: Mapped[int | None]
    """A deleted row stays, so that a page after it can be listed; its bytes are removed."""
    __table_args__ = (Index("files_in_order", "project_id", "created_at", "id"),)


class Job(Table):
    """A fine-tuning job."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(AnyId, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    created_at: Mapped[int]
    status: Mapped[str] = mapped_column(String(20))
    """validating_files, queued, running, paused, succeeded, failed or cancelled; changed by compare-and-set alone."""
    model: Mapped[str]
    training_file: Mapped[str] = mapped_column(AnyId)
    validation_file: Mapped[str | None] = mapped_column(AnyId)
    suffix: Mapped[str | None]
    seed: Mapped[int]
    hyperparameters: Mapped[dict[str, Any]]
    """As they were asked for; `auto` where none was given."""
    chosen: Mapped[dict[str, Any] | None]
    """The numbers that stand for `auto`, once the files are validated."""
    details: Mapped[dict[str, Any]]
    """`metadata` of the request, and what else is only shown again."""
    error: Mapped[dict[str, Any] | None]
    """`code`, `message` and `param` of a job that failed."""
    finished_at: Mapped[int | None]
    trained_tokens: Mapped[int | None]
    fine_tuned_model: Mapped[str | None]
    result_files: Mapped[list[str]] = mapped_column(default=list)
    request_digest: Mapped[str | None] = mapped_column(String(64))
    last_retry: Mapped[int] = mapped_column(default=0)
    __table_args__ = (Index("jobs_in_order", "project_id", "created_at", "id"),)


class Event(Table):
    """Something that happened to a job. `key` names it, so that it is told once whoever finds it again."""

    __tablename__ = "events"
    id: Mapped[str] = mapped_column(AnyId, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    number: Mapped[int]
    """Counts the events of a job from 1."""
    key: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[int]
    level: Mapped[str] = mapped_column(String(10), default="info")
    type: Mapped[str] = mapped_column(String(10), default="message")
    message: Mapped[str]
    data: Mapped[dict[str, Any] | None]
    __table_args__ = (UniqueConstraint("job_id", "key"), UniqueConstraint("job_id", "number"))


class Checkpoint(Table):
    """A finished epoch of a job."""

    __tablename__ = "checkpoints"
    id: Mapped[str] = mapped_column(AnyId, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    created_at: Mapped[int]
    step_number: Mapped[int]
    metrics: Mapped[dict[str, Any]]
    __table_args__ = (UniqueConstraint("job_id", "step_number"),)


class Model(Table):
    """A fine-tuned model."""

    __tablename__ = "models"
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    created_at: Mapped[int]
    bundle: Mapped[str]
    """Its bundle, as a path in the state directory."""
    deleted_at: Mapped[int | None]
    __table_args__ = (Index("models_in_order", "project_id", "created_at", "id"),)


class Batch(Table):
    """Requests in a file, answered in a file."""

    __tablename__ = "batches"
    id: Mapped[str] = mapped_column(AnyId, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    created_at: Mapped[int]
    status: Mapped[str] = mapped_column(String(20))
    """validating, in_progress, finalizing, completed, failed, cancelling, cancelled or expired."""
    endpoint: Mapped[str]
    input_file: Mapped[str] = mapped_column(AnyId)
    model: Mapped[str | None]
    output_file: Mapped[str | None] = mapped_column(AnyId)
    error_file: Mapped[str | None] = mapped_column(AnyId)
    details: Mapped[dict[str, Any]]
    """`metadata`, `completion_window`, and the time of each change of the status."""
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    errors: Mapped[dict[str, Any] | None]
    request_digest: Mapped[str | None] = mapped_column(String(64))
    last_retry: Mapped[int] = mapped_column(default=0)
    __table_args__ = (Index("batches_in_order", "project_id", "created_at", "id"),)


class Attempt(Table):
    """One try to run the command of a job, of a batch, or of the export of a base model."""

    __tablename__ = "attempts"
    id: Mapped[str] = mapped_column(AnyId, primary_key=True)
    owner_id: Mapped[str] = mapped_column(AnyId)
    number: Mapped[int]
    """Counts the attempts of an owner from 1."""
    created_at: Mapped[int]
    ended_at: Mapped[int | None]
    exit_code: Mapped[int | None]
    """None while it runs, and when it was lost."""
    __table_args__ = (UniqueConstraint("owner_id", "number"),)


class Lease(Table):
    """Which process may do some work now, such as `controller`."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    holder: Mapped[str] = mapped_column(AnyId)
    changes: Mapped[int]
    """Rises with each renewal; who sees no change for long takes the lease over."""

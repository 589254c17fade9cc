"""Routes of fine-tuning jobs: create, list, retrieve, cancel, pause, resume, events, checkpoints."""

import random
from collections.abc import Collection
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import Query, Request
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from sentiment_ray.openai_api.api_error import ApiError, conflict, not_found, unknown_model
from sentiment_ray.openai_api.database import change_status
from sentiment_ray.openai_api.events import add_event, count_events, lock_job, make_event_object
from sentiment_ray.openai_api.files import FINE_TUNE, FOR_READING, find_file
from sentiment_ray.openai_api.fine_tune import make_model_id
from sentiment_ray.openai_api.hyperparameters import Hyperparameters
from sentiment_ray.openai_api.ids import make_id, now_s
from sentiment_ray.openai_api.job_object import make_job_object
from sentiment_ray.openai_api.metadata import Metadata, matches, read_filter
from sentiment_ray.openai_api.open_work import refuse_too_many
from sentiment_ray.openai_api.pages import list_page
from sentiment_ray.openai_api.progress import make_checkpoint_object
from sentiment_ray.openai_api.repeated_create import compute_request_digest, find_repeated
from sentiment_ray.openai_api.request_body import StrictBody
from sentiment_ray.openai_api.routing import CurrentService, NumRetries, ProjectId, make_router
from sentiment_ray.openai_api.service import Service
from sentiment_ray.openai_api.tables import Checkpoint, Event, Job, Model

Part = TypeVar("Part", Event, Checkpoint)
Limit = Annotated[int, Query(ge=1, le=1000)]
MAX_SEED = (1 << 31) - 1
JOBS = "/fine_tuning/jobs"
router = make_router()


class Supervised(StrictBody):
    """`method.supervised` of a request."""

    hyperparameters: Hyperparameters | None = None


class Method(StrictBody):
    """`method` of a request."""

    type: str
    supervised: Supervised | None = None
    dpo: Any = None
    reinforcement: Any = None


class JobRequest(StrictBody):
    """The body of a request for a new job."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] = None
    seed: Annotated[int | None, Field(ge=0, le=MAX_SEED)] = None
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None
    integrations: list[Any] | None = None
    metadata: Metadata | None = None


NAMES = {"cancelled": "cancelled", "paused": "paused", "queued": "resumed"}
"""What has happened to a job that was given this status."""
OPEN = ("validating_files", "queued", "running", "paused")
"""Status of a job that can be cancelled."""


@router.post(JOBS)
def create_job(
    body: JobRequest, project_id: ProjectId, service: CurrentService, num_retries: NumRetries
) -> dict[str, Any]:
    """Create a fine-tuning job. Its files are checked afterwards: a file that is wrong inside fails the job."""
    _refuse_unsupported(body)
    digest = compute_request_digest("job", body.model_dump(mode="json"))
    with service.database.session() as session:
        repeated = find_repeated(session, Job, project_id, digest, num_retries)
        if repeated is not None:
            return make_job_object(repeated, service.config.organization)
        _check_references(session, service, project_id, body)
        refuse_too_many(session, project_id, service.config.max_queued_jobs)
        job = Job(
            id=make_id("ftjob-"),
            project_id=project_id,
            created_at=now_s(),
            status="validating_files",
            model=body.model,
            training_file=body.training_file,
            validation_file=body.validation_file,
            suffix=body.suffix,
            seed=random.SystemRandom().randint(0, MAX_SEED) if body.seed is None else body.seed,
            hyperparameters=_read_hyperparameters(body).model_dump(),
            details={"metadata": body.metadata},
            result_files=[],
            request_digest=digest,
            last_retry=0,
        )
        session.add(job)
        session.flush()
        add_event(session, job.id, "created", f"Created fine-tuning job: {job.id}")
        files = f"Validating training file: {job.training_file}"
        files += f" and validation file: {job.validation_file}" if job.validation_file else ""
        add_event(session, job.id, "validating", files)
    return make_job_object(job, service.config.organization)


@router.get(JOBS)
def list_jobs(
    request: Request,
    project_id: ProjectId,
    service: CurrentService,
    after: str | None = None,
    limit: Limit = 20,
) -> dict[str, Any]:
    """List the project's jobs, the newest first; `metadata[k]=v` keeps those that have this metadata."""
    wanted = read_filter(request.query_params.multi_items())

    def describe(job: Job) -> dict[str, Any]:
        return make_job_object(job, service.config.organization)

    with service.database.read_session() as session:
        last = _find_job(session, project_id, after, param="after") if after is not None else None
        statement, columns = select(Job).where(Job.project_id == project_id), (Job.created_at, Job.id)
        if not wanted:
            return list_page(session, statement, columns, describe, after=last, limit=limit)
        ids = [job.id for job in session.scalars(statement) if matches(job.details.get("metadata"), wanted)]
        return list_page(session, statement.where(Job.id.in_(ids)), columns, describe, after=last, limit=limit)


@router.get(f"{JOBS}/{{job_id}}/events")
def list_events(
    job_id: str, project_id: ProjectId, service: CurrentService, after: str | None = None, limit: Limit = 20
) -> dict[str, Any]:
    """List the events of a job, the newest first."""
    with service.database.read_session() as session:
        _find_job(session, project_id, job_id)
        last = _find_part(session, Event, job_id, after) if after is not None else None
        statement = select(Event).where(Event.job_id == job_id)
        return list_page(session, statement, (Event.number,), make_event_object, after=last, limit=limit)


@router.get(f"{JOBS}/{{job_id}}/checkpoints")
def list_checkpoints(
    job_id: str, project_id: ProjectId, service: CurrentService, after: str | None = None, limit: Limit = 10
) -> dict[str, Any]:
    """List the epochs of a job that are finished, the newest first."""
    with service.database.read_session() as session:
        model = make_model_id(_find_job(session, project_id, job_id), service.config)
        last = _find_part(session, Checkpoint, job_id, after) if after is not None else None
        statement = select(Checkpoint).where(Checkpoint.job_id == job_id)
        describe = partial(make_checkpoint_object, model=model)
        return list_page(session, statement, (Checkpoint.step_number,), describe, after=last, limit=limit)


@router.get(f"{JOBS}/{{job_id}}")
def retrieve_job(job_id: str, project_id: ProjectId, service: CurrentService) -> dict[str, Any]:
    """Return a job."""
    with service.database.read_session() as session:
        return make_job_object(_find_job(session, project_id, job_id), service.config.organization)


@router.post(f"{JOBS}/{{job_id}}/cancel")
def cancel_job(job_id: str, project_id: ProjectId, service: CurrentService) -> dict[str, Any]:
    """Cancel a job that has not ended; its processes end soon after."""
    return _change(service, project_id, job_id, allowed=OPEN, new="cancelled", finished_at=now_s())


@router.post(f"{JOBS}/{{job_id}}/pause")
def pause_job(job_id: str, project_id: ProjectId, service: CurrentService) -> dict[str, Any]:
    """Pause a job that waits or runs; what it has learned since its last checkpoint is repeated later."""
    return _change(service, project_id, job_id, allowed=("queued", "running"), new="paused")


@router.post(f"{JOBS}/{{job_id}}/resume")
def resume_job(job_id: str, project_id: ProjectId, service: CurrentService) -> dict[str, Any]:
    """Let a paused job go on as soon as there is room."""
    return _change(service, project_id, job_id, allowed=("paused",), new="queued")


def _refuse_unsupported(body: JobRequest) -> None:
    """Raise ApiError for what a hosted service offers and this one does not."""
    method = body.method
    for name in ("dpo", "reinforcement"):
        if method and (method.type == name or getattr(method, name) is not None):
            raise _unsupported("method", f"The method '{name}' is not supported. Use 'supervised'.")
    if method and method.type != "supervised":
        raise _unsupported("method.type", f"The method {method.type[:64]!r} is unknown. Use 'supervised'.")
    if body.integrations:
        message = "Integrations such as 'wandb' are not supported. Leave them out; the events have the metrics."
        raise _unsupported("integrations", message)


def _unsupported(param: str, message: str) -> ApiError:
    return ApiError(400, message, param=param, code="unsupported_value")


def _read_hyperparameters(body: JobRequest) -> Hyperparameters:
    """Return the hyperparameters, which stand in `method` or, in older requests, beside it."""
    supervised = body.method.supervised if body.method else None
    return (supervised and supervised.hyperparameters) or body.hyperparameters or Hyperparameters()


def _check_references(session: Session, service: Service, project_id: str, body: JobRequest) -> None:
    """Raise ApiError unless the model and the files are there and belong to the project."""
    if body.model not in service.config.models:
        model = session.get(Model, body.model)
        if model is None or model.project_id != project_id or model.deleted_at is not None:
            raise unknown_model(body.model)
    for param in ("training_file", "validation_file"):
        file_id = getattr(body, param)
        if file_id is None:
            continue
        file = find_file(session, project_id, file_id, lock=FOR_READING)
        if file.purpose != FINE_TUNE:
            message = f"The file {file_id} has the purpose '{file.purpose}'. Upload it with the purpose '{FINE_TUNE}'."
            raise ApiError(400, message, param=param, code="invalid_file_purpose")
    if body.training_file == body.validation_file:
        message = "The validation file is the training file. Give other examples, or leave it out."
        raise ApiError(400, message, param="validation_file", code="invalid_value")


def _find_job(session: Session, project_id: str, job_id: str, *, param: str = "id") -> Job:
    job = session.get(Job, job_id)
    if job is None or job.project_id != project_id:
        error = not_found("FineTuningJob", job_id)
        error.param = param
        raise error
    return job


def _find_part(session: Session, table: type[Part], job_id: str, after: str) -> Part:
    """Return the event or the checkpoint of a job behind which a page begins."""
    found = session.get(table, after)
    if found is None or found.job_id != job_id:
        error = not_found(table.__name__, after)
        error.param = "after"
        raise error
    return found


def _change(
    service: Service, project_id: str, job_id: str, *, allowed: Collection[str], new: str, **values: Any
) -> dict[str, Any]:
    """Give a job another status, and tell it as an event. ApiError with 409 when its status does not allow that."""
    with service.database.session() as session:
        lock_job(session, job_id)
        job = _find_job(session, project_id, job_id)
        if job.status not in allowed:
            raise conflict(f"The job {job_id} is {job.status}, so it cannot be {NAMES[new]}.")
        add_event(session, job_id, f"{new}-{count_events(session, job_id)}", f"Fine-tuning job {NAMES[new]}")
        change_status(session, job, expected=job.status, new=new, **values)
        session.refresh(job)
    return make_job_object(job, service.config.organization)

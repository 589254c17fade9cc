"""Routes of batches: create, list, retrieve, cancel."""

from typing import Annotated, Any, Literal

from fastapi import Query
from sqlalchemy import select
from sqlalchemy.orm import Session

from sentiment_ray.openai_api.api_error import ApiError, conflict, not_found
from sentiment_ray.openai_api.batch_endpoints import ENDPOINTS
from sentiment_ray.openai_api.batch_object import make_batch_object
from sentiment_ray.openai_api.database import change_status
from sentiment_ray.openai_api.files import BATCH, FOR_READING, find_file
from sentiment_ray.openai_api.ids import make_id, now_s
from sentiment_ray.openai_api.metadata import Metadata
from sentiment_ray.openai_api.open_work import refuse_too_many
from sentiment_ray.openai_api.pages import list_page
from sentiment_ray.openai_api.repeated_create import compute_request_digest, find_repeated
from sentiment_ray.openai_api.request_body import StrictBody
from sentiment_ray.openai_api.routing import CurrentService, NumRetries, ProjectId, make_router
from sentiment_ray.openai_api.tables import Batch

MAX_LIMIT = 100
router = make_router()


class BatchRequestBody(StrictBody):
    """The body of a request for a new batch."""

    input_file_id: str
    endpoint: str
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: Any = None


@router.post("/batches")
def create_batch(
    body: BatchRequestBody, project_id: ProjectId, service: CurrentService, num_retries: NumRetries
) -> dict[str, Any]:
    """Create a batch. Its file is checked afterwards: a file that is wrong fails the batch."""
    if body.endpoint not in ENDPOINTS:
        message = f"A batch cannot ask this endpoint. Choose one of {', '.join(ENDPOINTS)}."
        raise ApiError(400, message, param="endpoint", code="invalid_value")
    if body.output_expires_after is not None:
        message = "'output_expires_after' is not supported. Files stay until they are deleted."
        raise ApiError(400, message, param="output_expires_after", code="unsupported_value")
    digest = compute_request_digest("batch", body.model_dump(mode="json"))
    with service.database.session() as session:
        batch = find_repeated(session, Batch, project_id, digest, num_retries)
        if batch is not None:
            return make_batch_object(batch)
        file = find_file(session, project_id, body.input_file_id, lock=FOR_READING)
        if file.purpose != BATCH:
            message = f"The file {file.id} has the purpose '{file.purpose}'. Upload it with the purpose '{BATCH}'."
            raise ApiError(400, message, param="input_file_id", code="invalid_file_purpose")
        refuse_too_many(session, project_id, service.config.max_queued_jobs)
        batch = Batch(
            id=make_id("batch_"),
            project_id=project_id,
            created_at=now_s(),
            status="validating",
            endpoint=body.endpoint,
            input_file=body.input_file_id,
            details={"metadata": body.metadata, "completion_window": body.completion_window},
            counts={},
            request_digest=digest,
            last_retry=0,
        )
        session.add(batch)
    return make_batch_object(batch)


@router.get("/batches")
def list_batches(
    project_id: ProjectId,
    service: CurrentService,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 20,
) -> dict[str, Any]:
    """List the project's batches, the newest first."""
    with service.database.read_session() as session:
        last = _find_batch(session, project_id, after, param="after") if after is not None else None
        statement = select(Batch).where(Batch.project_id == project_id)
        columns = (Batch.created_at, Batch.id)
        return list_page(session, statement, columns, make_batch_object, after=last, limit=limit)


@router.get("/batches/{batch_id}")
def retrieve_batch(batch_id: str, project_id: ProjectId, service: CurrentService) -> dict[str, Any]:
    """Return a batch."""
    with service.database.read_session() as session:
        return make_batch_object(_find_batch(session, project_id, batch_id))


@router.post("/batches/{batch_id}/cancel")
def cancel_batch(batch_id: str, project_id: ProjectId, service: CurrentService) -> dict[str, Any]:
    """Cancel a batch that has not ended; it is `cancelling` until nothing of it runs."""
    with service.database.session() as session:
        batch = _find_batch(session, project_id, batch_id, lock=True)
        if batch.status not in ("validating", "in_progress", "finalizing", "cancelling"):
            raise conflict(f"The batch {batch_id} is {batch.status}, so it cannot be cancelled.")
        if batch.status != "cancelling":
            details = batch.details | {"cancelling_at": now_s()}
            change_status(session, batch, expected=batch.status, new="cancelling", details=details)
            session.refresh(batch)
    return make_batch_object(batch)


def _find_batch(session: Session, project_id: str, batch_id: str, *, param: str = "id", lock: bool = False) -> Batch:
    batch = session.get(Batch, batch_id, with_for_update=lock or None)
    if batch is None or batch.project_id != project_id:
        error = not_found("Batch", batch_id)
        error.param = param
        raise error
    return batch

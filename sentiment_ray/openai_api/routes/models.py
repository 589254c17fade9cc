"""Routes of models: list, retrieve, delete. A project sees the base models and its own fine-tuned ones."""

import shutil
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from sentiment_ray.openai_api.api_error import ApiError, conflict, unknown_model
from sentiment_ray.openai_api.files import ENDED_BATCH, ENDED_JOB
from sentiment_ray.openai_api.ids import now_s
from sentiment_ray.openai_api.objects import DeletedModel, ModelList, ModelObject
from sentiment_ray.openai_api.routing import CurrentService, ProjectId, make_router
from sentiment_ray.openai_api.service import Service
from sentiment_ray.openai_api.tables import Batch, Job, Model

BASE_CREATED_AT = 0
"""The time of base models: they are in the configuration, which has no time."""

router = make_router()


@router.get("/models", response_model=ModelList)
def list_models(service: CurrentService, project_id: ProjectId) -> Any:
    """List the base models and the project's fine-tuned models."""
    with service.database.read_session() as session:
        statement = select(Model).where(Model.project_id == project_id, Model.deleted_at.is_(None))
        tuned = session.scalars(statement.order_by(Model.created_at, Model.id)).all()
    base = [_describe(service, name, BASE_CREATED_AT) for name in service.config.models]
    return {"object": "list", "data": base + [_describe(service, model.id, model.created_at) for model in tuned]}


@router.get("/models/{model:path}", response_model=ModelObject)
def retrieve(model: str, service: CurrentService, project_id: ProjectId) -> Any:
    """Return a model's description."""
    if model in service.config.models:
        return _describe(service, model, BASE_CREATED_AT)
    with service.database.read_session() as session:
        return _describe(service, model, _find_model(session, project_id, model).created_at)


@router.delete("/models/{model:path}", response_model=DeletedModel)
def delete(model: str, service: CurrentService, project_id: ProjectId) -> Any:
    """Delete a fine-tuned model that no job or batch uses."""
    if model in service.config.models:
        message = f"{model} is a base model, which the configuration names. Only fine-tuned models can be deleted."
        raise ApiError(403, message, param="model")
    with service.database.session() as session:
        found = _find_model(session, project_id, model)
        job = select(Job.id).where(Job.model == model, Job.status.not_in(ENDED_JOB))
        batch = select(Batch.id).where(
            or_(Batch.model == model, Batch.model.is_(None)),  # one that is still validated may turn out to use it
            Batch.project_id == project_id,
            Batch.status.not_in(ENDED_BATCH),
        )
        user = session.scalar(job.limit(1)) or session.scalar(batch.limit(1))
        if user is not None:
            raise conflict(f"The model {model} is in use by {user}. Wait until that has ended, or cancel it.")
        found.deleted_at = now_s()
    shutil.rmtree(service.state / found.bundle, ignore_errors=True)
    return {"id": model, "object": "model", "deleted": True}


def _find_model(session: Session, project_id: str, model: str) -> Model:
    found = session.get(Model, model)
    if found is None or found.project_id != project_id or found.deleted_at is not None:
        raise unknown_model(model)
    return found


def _describe(service: Service, model: str, created_at: int) -> dict[str, Any]:
    owner = service.config.organization
    return {"id": model, "object": "model", "created": created_at, "owned_by": owner}

"""Counts what a project has under way: jobs and batches that have not ended."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from sentiment_ray.openai_api.api_error import over_quota
from sentiment_ray.openai_api.files import ENDED_BATCH, ENDED_JOB
from sentiment_ray.openai_api.tables import Batch, Job, Project

RETRY_AFTER_S = 60


def refuse_too_many(session: Session, project_id: str, limit: int) -> None:
    """Raise ApiError with 429 when a project may have no further job or batch now."""
    session.get(Project, project_id, with_for_update=True)  # of two creates at once, the second counts the first
    num_open = 0
    for table, ended in ((Job, ENDED_JOB), (Batch, ENDED_BATCH)):
        statement = select(func.count()).where(table.project_id == project_id, table.status.not_in(ended))
        num_open += session.scalar(statement) or 0
    if num_open >= limit:
        message = f"The project has {num_open} jobs and batches that have not ended, and may have {limit}."
        raise over_quota(message, retry_after_s=RETRY_AFTER_S)

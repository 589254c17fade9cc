"""The events of a job: each is told once, and they are numbered in the order in which they came."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from sentiment_ray.openai_api.ids import make_id, now_s
from sentiment_ray.openai_api.tables import Event, Job


def add_event(
    session: Session,
    job_id: str,
    key: str,
    message: str,
    *,
    level: str = "info",
    type: str = "message",
    data: Mapping[str, Any] | None = None,
) -> bool:
    """Add an event to a job; return False when the job has one with this key already."""
    lock_job(session, job_id)
    if session.scalar(select(Event.id).where(Event.job_id == job_id, Event.key == key)):
        return False
    last = session.scalar(select(func.max(Event.number)).where(Event.job_id == job_id)) or 0
    event = Event(
        id=make_id("ftevent-"),
        job_id=job_id,
        number=last + 1,
        key=key,
        created_at=now_s(),
        level=level,
        type=type,
        message=message,
        data=dict(data) if data is not None else None,
    )
    session.add(event)
    session.flush()
    return True


def count_events(session: Session, job_id: str) -> int:
    """Return the number of events of a job."""
    return session.scalar(select(func.count()).where(Event.job_id == job_id)) or 0


def lock_job(session: Session, job_id: str) -> None:
    """Let no other transaction change a job or its events until this one ends."""
    session.execute(update(Job).where(Job.id == job_id).values(status=Job.status))


def make_event_object(event: Event) -> dict[str, Any]:
    """Return an event as the API has it."""
    return {
        "object": "fine_tuning.job.event",
        "id": event.id,
        "created_at": event.created_at,
        "level": event.level,
        "message": event.message,
        "data": event.data if event.data is not None else {},
        "type": event.type,
    }

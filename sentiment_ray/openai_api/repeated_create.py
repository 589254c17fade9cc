"""Finds the record of a create that a client sends again because the answer to it was lost.

Clients send no key that names a create. They count how often they have sent it, in x-stainless-retry-count. So a
create that is sent again finds the newest record of the same request that no later try has found yet. Two creates that
are equal on purpose both have the count 0, and stay two.
"""

import hashlib
from typing import Any, TypeVar

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from sentiment_ray.openai_api.ids import now_s
from sentiment_ray.openai_api.tables import Batch, File, Job

MAX_AGE_S = 3600
"""Clients give up within this time: ten minutes for each of their tries."""

Created = TypeVar("Created", File, Job, Batch)


def compute_request_digest(kind: str, request: Any) -> str:
    """Return the sha256 of what is asked; `request` is JSON."""
    return hashlib.sha256(orjson.dumps([kind, request], option=orjson.OPT_SORT_KEYS)).hexdigest()


def find_repeated(
    session: Session, table: type[Created], project_id: str, digest: str, num_retries: int
) -> Created | None:
    """Return the record of a request that was sent `num_retries` times before; None if it has none, and if it is new.

    The session must be one that writes, and the caller must use it to create the record when there is none.
    """
    if not num_retries:
        return None
    statement = (
        select(table)
        .where(
            table.project_id == project_id,
            table.request_digest == digest,
            table.last_retry < num_retries,
            table.created_at > now_s() - MAX_AGE_S,
        )
        .order_by(table.created_at.desc(), table.id.desc())
        .limit(1)
        .with_for_update()
    )
    if table is File:
        statement = statement.where(File.deleted_at.is_(None))
    found = session.scalar(statement)
    if found is not None:
        found.last_retry = num_retries
    return found

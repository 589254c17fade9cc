"""Finds the project of an API key; creates and revokes keys. Only the sha256 of a key is stored."""

import hashlib
import time

from fastapi.concurrency import run_in_threadpool
from sqlalchemy import select, update

from sentiment_ray.openai_api.api_error import ApiError
from sentiment_ray.openai_api.database import Database
from sentiment_ray.openai_api.ids import make_id, make_secret, now_s
from sentiment_ray.openai_api.tables import Key, Project

KEY_PREFIX = "sk-"
NUM_KEY_LETTERS = 48
CACHED_S = 1.0
"""How long a key that was found is not looked up again; a revoked one may be used for as long."""
MAX_CACHED_KEYS = 10_000


class Authenticator:
    """Finds the project of the key in a header."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._found: dict[str, tuple[str, float]] = {}
        """The project of a key's sha256, and until when it holds."""

    async def find_project(self, authorization: str) -> str:
        """Return the id of the project of a header `Authorization: Bearer KEY`.

        `authorization` has one letter for each byte of the header. ApiError with 401 when there is no such key.
        """
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            message = (
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
            )
            raise ApiError(401, message, headers={"www-authenticate": "Bearer"})
        digest = hash_key(key.strip().encode("latin-1"))
        project_id, until_s = self._found.get(digest, ("", 0.0))
        if until_s > time.monotonic():
            return project_id
        found = await run_in_threadpool(self._look_up, digest)
        if found is None:
            self._found.pop(digest, None)
            message = "Incorrect API key provided. Create one with: sentiment-ray openai-api keys create."
            raise ApiError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
        if len(self._found) >= MAX_CACHED_KEYS:
            self._found.clear()
        self._found[digest] = (found, time.monotonic() + CACHED_S)
        return found

    def _look_up(self, digest: str) -> str | None:
        with self._database.read_session() as session:
            statement = select(Key.project_id).where(Key.sha256 == digest, Key.revoked_at.is_(None))
            return session.scalar(statement)


def hash_key(key: bytes) -> str:
    """Return the sha256 of a key, as the database has it."""
    return hashlib.sha256(key).hexdigest()


def create_key(database: Database, project_name: str) -> str:
    """Make a key of a project, and the project if it is new; return the key, which is stored nowhere."""
    key = f"{KEY_PREFIX}{make_secret(NUM_KEY_LETTERS)}"
    with database.session() as session:
        project_id = session.scalar(select(Project.id).where(Project.name == project_name))
        if project_id is None:
            project_id = make_id("proj_")
            session.add(Project(id=project_id, name=project_name, created_at=now_s()))
            session.flush()
        session.add(Key(sha256=hash_key(key.encode()), project_id=project_id, created_at=now_s(), revoked_at=None))
    return key


def revoke_key(database: Database, key: str) -> bool:
    """Make a key useless; return whether it was one."""
    with database.session() as session:
        statement = update(Key).where(Key.sha256 == hash_key(key.encode()), Key.revoked_at.is_(None))
        return bool(session.execute(statement.values(revoked_at=now_s())).rowcount)  # type: ignore[attr-defined]

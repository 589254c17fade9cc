"""Opens the database: SQLite in the state directory, or PostgreSQL; brings its tables up to date."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select, update
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from sentiment_ray.errors import ConfigError, require_extra
from sentiment_ray.openai_api.migrations import upgrade

SQLITE_WAIT_S = 10
"""How long a write waits for another process's write."""
POSTGRES = "postgresql+psycopg"
MIGRATION_LOCK = 7_303_014_522
"""The number of PostgreSQL's lock that one process at a time holds to bring the tables up to date."""
POOL_SIZE = 20
"""Connections that are kept; twice as many may be open. Routes run in up to 40 threads."""


class Database:
    """The database of one service; safe for several threads and, with several services, several processes."""

    def __init__(self, url: str) -> None:
        self.engine = _make_engine(url)
        self._reading_engine = self.engine.execution_options(is_reading=True)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Yield a session whose changes become visible together at its end, or not at all.

        On SQLite it waits until no other session of this kind is open, in any process.
        """
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read_session(self) -> Iterator[Session]:
        """Yield a session that only reads; it waits for nobody."""
        with Session(self._reading_engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()


def open_database(state: Path, url: str | None) -> Database:
    """Open the database of a state directory, with its tables as this release has them.

    ConfigError when it cannot be opened, or when a newer release has written it. No message has the password of a URL.
    """
    database = Database(_complete_url(url) if url else f"sqlite:///{state / 'state.sqlite'}")
    try:
        with database.engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            upgrade(connection)
    except DatabaseError as error:
        database.close()
        reason = str(error.orig).splitlines()[0]
        raise ConfigError(f"database: {_hide_password(url, state)} cannot be opened ({reason}).") from None
    except CommandError:
        database.close()
        name = _hide_password(url, state)
        raise ConfigError(f"database: {name} was written by a newer release. Upgrade sentiment-ray.") from None
    return database


def change_status(session: Session, row: Any, *, expected: str, new: str, **values: Any) -> bool:
    """Change a row's status if it still is the expected one; return whether it was (compare-and-set)."""
    table = type(row)
    statement = update(table).where(table.id == row.id, table.status == expected).values(status=new, **values)
    return bool(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def _make_engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, pool_size=POOL_SIZE, max_overflow=POOL_SIZE)
    engine = create_engine(url, connect_args={"timeout": SQLITE_WAIT_S}, pool_size=POOL_SIZE, max_overflow=POOL_SIZE)

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver begins no transaction on its own
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        is_reading = connection.get_execution_options().get("is_reading", False)
        connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")

    return engine


def _complete_url(url: str) -> str:
    """Return a URL of PostgreSQL with the driver that is installed."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("postgres", "postgresql", POSTGRES) or not rest:
        name = f"{scheme}://…" if rest else "this"
        raise ConfigError(f"database: {name} is no URL of PostgreSQL. Write {POSTGRES}://USER:PASSWORD@HOST/NAME.")
    require_extra("postgres", "psycopg")
    return f"{POSTGRES}://{rest}"


def _hide_password(url: str | None, state: Path) -> str:
    return repr(make_url(_complete_url(url)).render_as_string()) if url else str(state / "state.sqlite")

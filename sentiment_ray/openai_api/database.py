"""Opens the database: SQLite in the state directory, or PostgreSQL; brings its tables up to date."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, update
from sqlalchemy.orm import Session

from sentiment_ray.openai_api.tables import Table

SQLITE_WAIT_S = 10
"""How long a write waits for another process's write."""


class Database:
    """The database of one service; safe for several threads and, with several services, several processes."""

    def __init__(self, url: str) -> None:
        self.engine = _make_engine(url)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Yield a session whose changes become visible together at its end, or not at all."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()


def open_database(state: Path, url: str | None) -> Database:
    """Open the database of a state directory, with its tables as this release has them."""
    database = Database(url or f"sqlite:///{state / 'state.sqlite'}")
    Table.metadata.create_all(database.engine)
    return database


def change_status(session: Session, row: Any, *, expected: str, new: str, **values: Any) -> bool:
    """Change a row's status if it still is the expected one; return whether it was (compare-and-set)."""
    table = type(row)
    statement = update(table).where(table.id == row.id, table.status == expected).values(status=new, **values)
    return bool(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def _make_engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": SQLITE_WAIT_S})

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")

    return engine

"""One process at a time does some work: it holds a lease, a row that it changes again and again."""

import hashlib
import os
import secrets
import time

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from sentiment_ray.openai_api.database import Database
from sentiment_ray.openai_api.sessions import ProcessIdentity, identify, identify_machine, is_alive
from sentiment_ray.openai_api.tables import Lease

STALE_S = 20.0
"""How long a lease must stay unchanged before another process takes it over, by that process's own clock."""
NOBODY = ""


class LeaseHolder:
    """Takes a lease when nobody has it, and keeps it as long as `renew` is called again and again."""

    def __init__(self, database: Database, name: str) -> None:
        self._database, self._name = database, name
        self._me = _name_holder()
        self._watched: tuple[str, int] | None = None
        self._unchanged_since = time.monotonic()

    def renew(self) -> bool:
        """Take the lease or renew it; return whether this process holds it now."""
        with self._database.read_session() as session:
            row = session.execute(select(Lease.holder, Lease.changes).where(Lease.name == self._name)).one_or_none()
        if row is None:
            return self._create()
        holder, changes = str(row[0]), int(row[1])
        if holder not in (self._me, NOBODY) and not self._is_over(holder, changes):
            return False
        return self._change(holder, changes, self._me)

    def release(self) -> None:
        """Let another process take the lease at once."""
        with self._database.session() as session:
            mine = update(Lease).where(Lease.name == self._name, Lease.holder == self._me)
            session.execute(mine.values(holder=NOBODY))

    def _is_over(self, holder: str, changes: int) -> bool:
        """Whether the holder has died on this machine, or has not renewed the lease for long."""
        if self._watched != (holder, changes):
            self._watched, self._unchanged_since = (holder, changes), time.monotonic()
        process = _read_holder(holder)
        if process and not is_alive(process):
            return True
        return time.monotonic() - self._unchanged_since >= STALE_S

    def _create(self) -> bool:
        try:
            with self._database.session() as session:
                session.add(Lease(name=self._name, holder=self._me, changes=1))
        except IntegrityError:  # another process was faster
            return False
        return True

    def _change(self, holder: str, changes: int, new: str) -> bool:
        same = (Lease.name == self._name, Lease.holder == holder, Lease.changes == changes)
        with self._database.session() as session:
            result = session.execute(update(Lease).where(*same).values(holder=new, changes=changes + 1))
            return bool(result.rowcount)  # type: ignore[attr-defined]


def _name_holder() -> str:
    """Return a name for this process, by which others on this machine can see whether it lives."""
    process = identify(os.getpid())
    assert process is not None
    return f"{process.pid} {process.started} {_hash_machine()} {secrets.token_hex(4)}"


def _read_holder(holder: str) -> ProcessIdentity | None:
    """Return the process of a holder; None when it is one of another machine."""
    pid, started, machine, _ = holder.split(" ")
    return ProcessIdentity(int(pid), started, identify_machine()) if machine == _hash_machine() else None


def _hash_machine() -> str:
    return hashlib.sha256(identify_machine().encode()).hexdigest()[:16]

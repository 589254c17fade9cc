"""Runs the command of a job until it has ended, in as many attempts as that takes; knows no job."""

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from sentiment_ray import log
from sentiment_ray.manifest import write_json
from sentiment_ray.openai_api.attempt_process import COMMAND_NAME, LOG_NAME
from sentiment_ray.openai_api.database import Database
from sentiment_ray.openai_api.ids import make_id, now_s
from sentiment_ray.openai_api.launcher import Launcher
from sentiment_ray.openai_api.project_root import find_project_root
from sentiment_ray.openai_api.tables import Attempt

REFUSED, MISSED_LIMIT = 2, 3
"""Exit codes of a command that refuses its input, or whose result misses a limit; it would do so again."""
MAX_FAILURES = 3
"""Attempts that may end by an error of their own."""
MAX_LOST = 50
"""Attempts that may be killed, or lost with their machine or their cluster."""
WAIT_AFTER_FAILURE_S = 5
LAST_BYTES = 64 << 10
"""End of a log that is searched for the error."""


@dataclass(frozen=True)
class Outcome:
    """How far a command is; `message` says why it was refused."""

    status: Literal["running", "succeeded", "refused", "failed"]
    message: str = ""


@dataclass(frozen=True)
class Attempts:
    """The attempts of all owners: jobs, batches and base models. Each owner has a directory."""

    database: Database
    launcher: Launcher

    def run(
        self, owner_id: str, directory: Path, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> Outcome:
        """Start the command `python ARGUMENTS` of an owner, or the next attempt of it, and return how far it is.

        It never waits: call it again until the outcome is another than `running`.
        """
        earlier = self._list(owner_id)
        last = earlier[-1] if earlier else None
        if last is None:
            return self._start_next(owner_id, directory, arguments, environment, number=1)
        if last.ended_at is None:
            return self._continue(last, directory)
        if last.exit_code == 0:
            return Outcome("succeeded")
        if last.exit_code == REFUSED:
            return Outcome("refused", _read_error(_directory(directory, last.number)))
        if last.exit_code == MISSED_LIMIT:
            return _give_up(owner_id, directory, last)
        num_lost = sum(_was_lost(attempt) for attempt in earlier)
        if len(earlier) - num_lost >= MAX_FAILURES or num_lost >= MAX_LOST:
            return _give_up(owner_id, directory, last)
        if not _was_lost(last) and now_s() < last.ended_at + WAIT_AFTER_FAILURE_S:
            return Outcome("running")
        return self._start_next(owner_id, directory, arguments, environment, number=last.number + 1)

    def stop(self, owner_id: str, directory: Path) -> bool:
        """End the attempt of an owner that runs, if there is one; return whether nothing of it runs."""
        earlier = self._list(owner_id)
        last = earlier[-1] if earlier else None
        if last is None or last.ended_at is not None:
            return True
        if not self.launcher.stop(_directory(directory, last.number), last.id):
            return False
        self._note_end(last, exit_code=None)
        return True

    def list_running(self) -> set[str]:
        """Return the owners whose attempt has not ended, as far as is known."""
        with self.database.session() as session:
            return set(session.scalars(select(Attempt.owner_id).where(Attempt.ended_at.is_(None))))

    def _list(self, owner_id: str) -> list[Attempt]:
        with self.database.session() as session:
            return list(session.scalars(select(Attempt).where(Attempt.owner_id == owner_id).order_by(Attempt.number)))

    def _start_next(
        self,
        owner_id: str,
        directory: Path,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None,
        number: int,
    ) -> Outcome:
        """Note the attempt, then start it: after a crash between the two it is started by its note."""
        attempt = Attempt(id=make_id("attempt-"), owner_id=owner_id, number=number, created_at=now_s())
        folder = _directory(directory, number)
        folder.mkdir(parents=True, exist_ok=True)
        command = {
            "attempt": attempt.id,
            "command": [sys.executable, *arguments],
            "directory": str(find_project_root()),
            "environment": self.launcher.environment | dict(environment or {}),
        }
        write_json(folder / f"{attempt.id}.json", command)
        try:
            with self.database.session() as session:
                session.add(attempt)
        except IntegrityError:  # another process has just noted this attempt
            (folder / f"{attempt.id}.json").unlink()
            return Outcome("running")
        return self._continue(attempt, directory)

    def _continue(self, attempt: Attempt, directory: Path) -> Outcome:
        folder = _directory(directory, attempt.number)
        state = self.launcher.read_state(folder, attempt.id)
        if not state.has_started:
            note = folder / f"{attempt.id}.json"
            if note.exists():
                note.replace(folder / COMMAND_NAME)
            self.launcher.start(folder, attempt.id)
        elif state.is_lost or state.exit_code is not None:
            self._note_end(attempt, state.exit_code)
        return Outcome("running")

    def _note_end(self, attempt: Attempt, exit_code: int | None) -> None:
        statement = update(Attempt).where(Attempt.id == attempt.id, Attempt.ended_at.is_(None))
        with self.database.session() as session:
            session.execute(statement.values(ended_at=now_s(), exit_code=exit_code))


def _give_up(owner_id: str, directory: Path, last: Attempt) -> Outcome:
    """Say in the log of the service where the log of the command is."""
    path = _directory(directory, last.number) / LOG_NAME
    log.notify(f"{owner_id} has failed after {last.number} attempts: see {path}", level=logging.ERROR)
    return Outcome("failed")


def _directory(owner: Path, number: int) -> Path:
    return owner / "attempts" / str(number)


def _was_lost(attempt: Attempt) -> bool:
    """Whether an attempt was killed or disappeared; a shell adds 128 to the number of a signal."""
    return attempt.ended_at is not None and (attempt.exit_code is None or attempt.exit_code >= 128)


def _read_error(directory: Path) -> str:
    """Return the last error in the log of an attempt, in one line without the paths of this machine."""
    try:
        with (directory / LOG_NAME).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - LAST_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    message = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), "")
    return re.sub(r"/\S*/", "", message)

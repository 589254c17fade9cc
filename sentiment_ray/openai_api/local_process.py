"""Runs attempts on this machine, each in a process that outlives the service; knows no database."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from sentiment_ray.openai_api.attempt_process import claim_attempt, read_exit_code, read_process
from sentiment_ray.openai_api.launcher import LOST, RUNNING, AttemptState
from sentiment_ray.openai_api.sessions import end_session, is_alive, list_session

GRACE_S = 5.0
"""How long the processes of an attempt may take to end after SIGTERM."""
WITHOUT_CLUSTER = {"RAY_ADDRESS": "local"}
"""A command starts a Ray cluster of its own, whichever others run on this machine."""


class LocalProcesses:
    """Starts, finds and ends attempts as processes of this machine."""

    def __init__(self) -> None:
        self.environment = dict(WITHOUT_CLUSTER)
        self.train_keys: dict[str, Any] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, directory: Path, attempt_id: str) -> None:
        """Start the attempt of a directory; without effect when it was started before, by whomever."""
        last = self._children.get(attempt_id)
        if last is not None and last.poll() is None:  # it has not come so far as to write its name
            return
        command = [sys.executable, "-m", "sentiment_ray.openai_api.attempt_process", str(directory)]
        quiet = subprocess.DEVNULL
        child = subprocess.Popen(command, start_new_session=True, stdin=quiet, stdout=quiet, stderr=quiet, cwd="/")
        self._children = {key: each for key, each in self._children.items() if each.poll() is None}
        self._children[attempt_id] = child

    def read_state(self, directory: Path, attempt_id: str) -> AttemptState:
        """Return how far an attempt is. One that was lost leaves no process behind."""
        for child in list(self._children.values()):
            child.poll()  # so that one that has ended leaves the list of processes
        process = read_process(directory)
        exit_code = read_exit_code(directory)
        if exit_code is not None:
            return AttemptState(exit_code=exit_code)
        if process is None:
            return AttemptState(has_started=False)
        if is_alive(process):
            return RUNNING
        exit_code = read_exit_code(directory)  # it may have been written between the two looks
        if exit_code is not None:
            return AttemptState(exit_code=exit_code)
        end_session(process, attempt_id, grace_s=GRACE_S)
        return LOST

    def stop(self, directory: Path, attempt_id: str) -> bool:
        """End an attempt, or forbid that it starts; return whether nothing of it runs."""
        claim_attempt(directory, None)
        process = read_process(directory)
        end_session(process, attempt_id, grace_s=GRACE_S)
        return not list_session(process, attempt_id)

    def count_slots(self) -> int:
        """Return how many fine-tuning jobs run at once here."""
        return 1

"""Runs attempts as Ray Jobs of the cluster that RAY_ADDRESS names; knows no database.

A job's submission id is the id of the attempt. Ray takes an id only once, so a submission whose answer was lost can be
repeated. The state directory must be the same directory on the head node.
"""

import logging
import math
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sentiment_ray import log
from sentiment_ray.openai_api.attempt_process import claim_attempt, read_exit_code, read_process
from sentiment_ray.openai_api.launcher import LOST, RUNNING, AttemptState, ClusterAwayError
from sentiment_ray.openai_api.sessions import end_session, is_alive, is_here

EXISTS, UNKNOWN = ANSWERS = "already exists", "does not exist"
"""What Ray says of a submission id that it has taken before, and of one that it does not know."""
OVER = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
GRACE_S = 3.0


class RayJobs:
    """Starts, finds and ends attempts as Ray Jobs. ClusterAwayError while the cluster does not answer."""

    def __init__(self, cpus_per_job: float) -> None:
        self.environment: dict[str, str] = {}
        self.train_keys: dict[str, Any] = {"cpus_per_worker": cpus_per_job}
        self._cpus_per_job = cpus_per_job
        self._client: Any = None
        self._obstacle = ""

    def start(self, directory: Path, attempt_id: str) -> None:
        """Submit the attempt of a directory; without effect when it was submitted before."""
        command = [sys.executable, "-m", "sentiment_ray.openai_api.attempt_process", str(directory)]
        try:
            self._ask(lambda client: client.submit_job(entrypoint=shlex.join(command), submission_id=attempt_id))
        except RuntimeError as error:
            if EXISTS not in str(error):
                raise

    def read_state(self, directory: Path, attempt_id: str) -> AttemptState:
        """Return how far an attempt is."""
        exit_code, process = read_exit_code(directory), read_process(directory)
        if exit_code is not None:
            return AttemptState(exit_code=exit_code)
        if process and is_here(process) and not is_alive(process):
            return self._end(directory, attempt_id)
        status = self._find_status(attempt_id)
        if status is None and process is None:
            return AttemptState(has_started=False)
        return self._end(directory, attempt_id) if status is None or status in OVER else RUNNING

    def stop(self, directory: Path, attempt_id: str) -> bool:
        """End an attempt, or forbid that it starts; return whether it has ended."""
        claim_attempt(directory, None)
        end_session(read_process(directory), attempt_id, grace_s=GRACE_S)
        status = self._find_status(attempt_id)
        if status is not None and status not in OVER:
            self._ask(lambda client: client.stop_job(attempt_id))
        return status is None or status in OVER

    def count_slots(self) -> int:
        """Return how many fine-tuning jobs the CPUs of the cluster have room for."""
        from ray.util.state import list_nodes

        nodes = self._ask(lambda client: list_nodes(address=client.get_address(), filters=[("state", "=", "ALIVE")]))
        num_cpus = sum(float(node.resources_total.get("CPU", 0)) for node in nodes)
        return max(1, math.floor(num_cpus / self._cpus_per_job))

    def _end(self, directory: Path, attempt_id: str) -> AttemptState:
        """Return how an attempt has ended that no longer runs; nothing of it is left on this machine."""
        end_session(read_process(directory), attempt_id, grace_s=GRACE_S)
        exit_code = read_exit_code(directory)  # it may have been written since the first look
        return LOST if exit_code is None else AttemptState(exit_code=exit_code)

    def _find_status(self, attempt_id: str) -> str | None:
        """Return the status of a Ray Job; None when the cluster does not know it."""
        try:
            return str(self._ask(lambda client: client.get_job_status(attempt_id)).value)
        except RuntimeError as error:
            if UNKNOWN in str(error):
                return None
            raise

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        """Ask the cluster by a client, which is made when it is first needed and again after a failure."""
        try:
            if self._client is None:
                self._client = _connect()
            answer = question(self._client)
        except Exception as error:  # Ray and its HTTP client raise errors of many kinds
            if isinstance(error, RuntimeError) and any(known in str(error) for known in ANSWERS):
                raise
            self._client = None
            self._notify_of(error)
            raise ClusterAwayError(str(error)) from error
        self._obstacle = ""
        return answer

    def _notify_of(self, error: Exception) -> None:
        """Say once why the cluster cannot be asked, such as one that has no agent for jobs yet."""
        obstacle = str(error).strip().partition("\n")[0]
        if obstacle != self._obstacle:
            self._obstacle = obstacle
            log.notify(f"the Ray cluster cannot be asked for now ({obstacle})", level=logging.WARNING)


def _connect() -> Any:
    from ray.job_submission import JobSubmissionClient

    from sentiment_ray.cluster_address import find_obstacle

    address = os.environ["RAY_ADDRESS"].strip()
    obstacle = find_obstacle(address, 0) if ":" in address and "://" not in address else ""
    if obstacle:  # Ray itself would wait for a minute
        raise ClusterAwayError(obstacle)
    return JobSubmissionClient(address)

"""What runs the attempts of a service: processes of this machine, or Ray Jobs of a cluster."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class AttemptState:
    """How far an attempt is: not started, running, ended with an exit code, or lost."""

    has_started: bool = True
    exit_code: int | None = None
    is_lost: bool = False


RUNNING = AttemptState()
LOST = AttemptState(is_lost=True)
"""The attempt has ended and nobody knows how."""


class ClusterAwayError(Exception):
    """The cluster does not answer; what runs there may go on."""


class Launcher(Protocol):
    """Starts, finds and ends attempts. An attempt has a directory of its own, with a command.json in it."""

    environment: dict[str, str]
    """Variables that the commands get."""
    train_keys: dict[str, Any]
    """Keys of [train] that a training gets which runs there."""

    def start(self, directory: Path, attempt_id: str) -> None:
        """Start an attempt; without effect when it was started before."""

    def read_state(self, directory: Path, attempt_id: str) -> AttemptState:
        """Return how far an attempt is."""

    def stop(self, directory: Path, attempt_id: str) -> bool:
        """End an attempt, or forbid that it starts; return whether nothing of it runs."""

    def count_slots(self) -> int:
        """Return how many fine-tuning jobs there is room for at once."""


def choose_launcher(cpus_per_job: float) -> Launcher:
    """Return Ray Jobs where RAY_ADDRESS names a cluster, else processes of this machine."""
    if os.environ.get("RAY_ADDRESS", "").strip() in ("", "local"):
        from sentiment_ray.openai_api.local_process import LocalProcesses

        return LocalProcesses()
    from sentiment_ray.openai_api.ray_submission import RayJobs

    return RayJobs(cpus_per_job)

"""Makes training files, and follows fine-tuning jobs with the real client."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import openai
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

from sentiment_ray.manifest import hash_file, read_json
from sentiment_ray.openai_api.attempt_process import read_process
from sentiment_ray.openai_api.sessions import list_session
from tests.conftest import ROOT
from tests.openai_api.running import MODEL, RunningService

WAIT_S = 240
ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class FineTuned:
    """A job that has succeeded, the file that it learned from, and a client of its project."""

    client: openai.OpenAI
    key: str
    job: FineTuningJob
    examples: bytes

    @property
    def model(self) -> str:
        """The id of the model."""
        assert self.job.fine_tuned_model
        return self.job.fine_tuned_model


def fine_tune(running: RunningService, encoder: Path) -> FineTuned:
    """Fine-tune an encoder with 66 examples, as the tutorial does."""
    (running.service.state / "encoder").symlink_to(encoder)
    key = running.make_key("fine-tuned")
    client, examples = running.make_client(key), select_examples()
    job = create_job(client, examples, suffix="mood", metadata={"team": "news"})
    return FineTuned(client, key, wait_for_status(client, job.id), examples)


def read_everyday() -> list[str]:
    """The lines of the project's real examples, each a chat with a system message."""
    return (ROOT / "jobs/configs/everyday.jsonl").read_text(encoding="utf-8").splitlines()


def select_examples(per_label: int = 22, *, skip: int = 0) -> bytes:
    """A training file with equally many real examples of each label, 66 by default."""
    by_label: dict[str, list[str]] = {}
    for line in read_everyday():
        by_label.setdefault(json.loads(line)["messages"][-1]["content"], []).append(line)
    lines = [rows[number] for number in range(skip, skip + per_label) for rows in by_label.values()]
    return "".join(f"{line}\n" for line in lines).encode()


def upload(client: openai.OpenAI, content: bytes, name: str = "examples.jsonl") -> str:
    """Upload a training file and return its id."""
    return client.files.create(file=(name, content), purpose="fine-tune").id


def create_job(client: openai.OpenAI, content: bytes, **fields: object) -> FineTuningJob:
    """Upload a training file and create a job with it."""
    given = {"model": MODEL, "seed": 1, **fields}
    return client.fine_tuning.jobs.create(training_file=upload(client, content), **given)  # type: ignore[arg-type]


def wait_for_status(
    client: openai.OpenAI, job_id: str, wanted: Sequence[str] = ENDED, *, wait_s: float = WAIT_S
) -> FineTuningJob:
    """Ask for a job until it has one of some states."""
    end = time.monotonic() + wait_s
    while (job := client.fine_tuning.jobs.retrieve(job_id)).status not in wanted:
        assert job.status not in ENDED, job.error
        assert time.monotonic() < end, job.status
        time.sleep(0.3)
    return job


def list_events(client: openai.OpenAI, job_id: str, *, limit: int = 100) -> list[FineTuningJobEvent]:
    """All events of a job, the oldest first."""
    return list(client.fine_tuning.jobs.list_events(job_id, limit=limit))[::-1]


def find_processes(state: Path, job_ids: Iterable[str]) -> list[int]:
    """The processes that name a job of a state directory in their command, or belong to one of its attempts."""
    found = []
    for job_id in job_ids:
        for directory in (state / "jobs" / job_id / "attempts").glob("*"):
            command = json.loads((directory / "command.json").read_bytes())
            found += list_session(read_process(directory), command["attempt"])
    return found


def hash_weights(state: Path, job_id: str) -> str:
    """The sha256 of the weights of a job's best checkpoint."""
    run = state / "jobs" / job_id / "run"
    return hash_file(run / read_json(run / "run.json")["best"]["checkpoint"] / "model.safetensors")

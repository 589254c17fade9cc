"""Jobs move on whichever service looks, as many at once as there is room for, and each thing is told once."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from sentiment_ray.openai_api import controller as module
from sentiment_ray.openai_api.config import OpenAiApiConfig
from sentiment_ray.openai_api.controller import Controller
from sentiment_ray.openai_api.database import open_database
from sentiment_ray.openai_api.ids import make_id, now_s
from sentiment_ray.openai_api.launcher import LOST, RUNNING, AttemptState
from sentiment_ray.openai_api.service import Service
from sentiment_ray.openai_api.tables import Checkpoint, Event, File, Job, Model, Project
from tests.openai_api.fine_tuning import select_examples
from tests.openai_api.running import MODEL

NUM_STEPS, NUM_EPOCHS = 10, 2
AUTO = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}


class Rehearsal:
    """A launcher whose attempts train by writing the files of a training, a step at each look."""

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.train_keys: dict[str, Any] = {}
        self.started: set[str] = set()
        self.lost: set[str] = set()
        self.most_at_once = 0
        self._running: set[str] = set()

    def start(self, directory: Path, attempt_id: str) -> None:
        self.started.add(attempt_id)
        self._running.add(attempt_id)
        self.most_at_once = max(self.most_at_once, len(self._running))
        run = directory.parent.parent / "run"
        run.mkdir(exist_ok=True)
        chosen = {"passes_per_epoch": 12, "rows_per_batch": 8, "learning_rate": 1e-4}
        (run / "config.json").write_text(json.dumps({"config": {"epochs": NUM_EPOCHS}, "chosen": chosen}))

    def read_state(self, directory: Path, attempt_id: str) -> AttemptState:
        if attempt_id not in self.started:
            return AttemptState(has_started=False)
        if attempt_id in self.lost:
            self._running.discard(attempt_id)
            return LOST
        if self._train(directory.parent.parent / "run"):
            self._running.discard(attempt_id)
            return AttemptState(exit_code=0)
        return RUNNING

    def stop(self, directory: Path, attempt_id: str) -> bool:
        self._running.discard(attempt_id)
        return True

    def count_slots(self) -> int:
        return 1

    def _train(self, run: Path) -> bool:
        """Take a step; return whether it was the last one."""
        path = run / "steps.jsonl"
        step = 1 + (len(path.read_text().splitlines()) if path.exists() else 0)
        line = {"step": step, "total_steps": NUM_STEPS, "loss": 5.42, "accuracy": 0.5}
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if step % (NUM_STEPS // NUM_EPOCHS) == 0:
            epoch = {"steps": 5, "loss": 2.0, "tokens": 100, "split": "validation"}
            with (run / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(epoch | {"validation_loss": 1.0, "accuracy": 0.75}) + "\n")
        return step == NUM_STEPS


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    (tmp_path / "files").mkdir()
    database = open_database(tmp_path, None)
    service = Service(OpenAiApiConfig(state=str(tmp_path), models={MODEL: "encoder"}), database, tmp_path)
    (tmp_path / "files/file-a").write_bytes(select_examples())
    with database.session() as session:
        session.add(Project(id="project", name="project", created_at=1))
        session.flush()
        values = {"filename": "a.jsonl", "purpose": "fine-tune", "num_bytes": 1, "sha256": "0" * 64, "created_at": 1}
        session.add(File(id="file-a", project_id="project", **values))
    yield service
    database.close()


def _add_job(service: Service, training_file: str = "file-a") -> str:
    values = {"status": "validating_files", "seed": 1, "hyperparameters": AUTO, "details": {}, "result_files": []}
    job = Job(
        id=make_id("ftjob-"),
        project_id="project",
        created_at=now_s(),
        model=MODEL,
        training_file=training_file,
        **values,
    )
    with service.database.session() as session:
        session.add(job)
    return job.id


def _look(service: Service, launcher: Rehearsal, *, until: tuple[str, ...] = ("succeeded", "failed")) -> list[Job]:
    """Look again and again, each time as another service, until all jobs have one of some states."""
    for _ in range(300):
        controller = Controller(service, launcher)
        controller.look_once()
        controller.stop()
        with service.database.read_session() as session:
            jobs = list(session.scalars(select(Job).order_by(Job.created_at, Job.id)))
        if all(job.status in until for job in jobs):
            return jobs
    raise AssertionError([job.status for job in jobs])


def test_a_job_ends_once_whichever_service_looks(service: Service) -> None:
    job_id = _add_job(service)
    (job,) = _look(service, Rehearsal())
    assert (job.status, job.trained_tokens) == ("succeeded", 200)
    assert job.chosen == {"n_epochs": 24, "batch_size": 8, "learning_rate_multiplier": 2.0}
    with service.database.read_session() as session:
        events = session.scalars(select(Event).where(Event.job_id == job_id).order_by(Event.number)).all()
        checkpoints = session.scalars(select(Checkpoint).order_by(Checkpoint.step_number)).all()
        assert [model.id for model in session.scalars(select(Model))] == [job.fine_tuned_model]
        assert session.get(File, job.result_files[0])
    assert [event.message for event in events if event.type == "metrics"] == [
        f"Step {step}/{NUM_STEPS}: training loss=5.42" for step in range(1, NUM_STEPS + 1)
    ]
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert [checkpoint.metrics["full_valid_loss"] for checkpoint in checkpoints] == [1.0, 1.0]
    result = (service.state / "files" / job.result_files[0]).read_text().splitlines()
    assert result[:2] == ["step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy", "1,5.42,0.5,,"]
    assert result[5] == "5,5.42,0.5,1,0.75"


@pytest.mark.parametrize("max_running_jobs", [1, 2])
def test_no_more_jobs_run_at_once_than_may(service: Service, max_running_jobs: int) -> None:
    service.config = service.config.model_copy(update={"max_running_jobs": max_running_jobs})
    for _ in range(4):
        _add_job(service)
    launcher = Rehearsal()
    assert {job.status for job in _look(service, launcher)} == {"succeeded"}
    assert launcher.most_at_once == max_running_jobs


def test_ids_sort_as_they_were_made() -> None:
    """So of two jobs of one second the first one runs first."""
    ids = []
    for _ in range(5):
        ids.append(make_id("ftjob-"))
        time.sleep(0.002)
    assert ids == sorted(ids)


def test_a_lost_attempt_is_followed_by_one_that_goes_on(service: Service) -> None:
    _add_job(service)
    launcher = Rehearsal()
    _look(service, launcher, until=("running",))
    for _ in range(3):
        controller = Controller(service, launcher)
        controller.look_once()
        controller.stop()
    launcher.lost |= launcher.started
    (job,) = _look(service, launcher)
    assert (job.status, len(launcher.started)) == ("succeeded", 2)
    with service.database.read_session() as session:
        messages = list(session.scalars(select(Event.message)))
    assert len(messages) == len(set(messages))


def test_a_step_that_always_fails_fails_the_job(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file has disappeared from the disk, so the check of it can never be done."""
    monkeypatch.setattr(module, "MAX_STEP_FAILURES", 3)
    _add_job(service, training_file="file-gone")
    controller = Controller(service, Rehearsal())
    end = time.monotonic() + 10
    while time.monotonic() < end:
        controller.look_once()
        time.sleep(0.05)
        with service.database.read_session() as session:
            job = session.scalars(select(Job)).one()
        if job.status == "failed":
            break
    controller.stop()
    assert job.error and job.error["code"] == "server_error"

"""Moves one fine-tuning job on: checks its files, runs its command, records its progress, registers its model."""

import hashlib
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from sentiment_ray.openai_api.attempts import Attempts, Outcome
from sentiment_ray.openai_api.config import OpenAiApiConfig
from sentiment_ray.openai_api.database import change_status
from sentiment_ray.openai_api.events import add_event, lock_job
from sentiment_ray.openai_api.files import FINE_TUNE_RESULTS, add_result_file
from sentiment_ray.openai_api.ids import make_result_id, now_s
from sentiment_ray.openai_api.job_files import TOML_NAME, Base, read_num_examples, write_job_files
from sentiment_ray.openai_api.progress import (
    TrainingProgress,
    count_trained_tokens,
    make_result_file,
    read_progress,
    record_progress,
)
from sentiment_ray.openai_api.service import Service
from sentiment_ray.openai_api.tables import Job, Model
from sentiment_ray.openai_api.training_file import (
    InvalidTrainingFile,
    TrainingExamples,
    check_against_validation,
    read_training_file,
)

ENDED = frozenset({"succeeded", "failed", "cancelled"})
RESULT_FILENAME = "step_metrics.csv"
NUM_MODEL_CHARACTERS = 8
SERVER_ERROR = "The job failed because of an error of the server. Create the job again; the server's log says more."


class FineTunes:
    """Moves fine-tuning jobs on. Every method can be called again after a crash at any moment."""

    def __init__(self, service: Service, attempts: Attempts) -> None:
        self.service, self.attempts = service, attempts
        self.config, self.database, self.state = service.config, service.database, service.state

    def advance(self, job: Job) -> None:
        """Do the next step of a job, according to its status."""
        if job.status == "validating_files":
            self._validate(job)
        elif job.status == "running":
            self._run(job)
        else:
            self.attempts.stop(job.id, self._directory(job))

    def start(self, job: Job) -> None:
        """Let a queued job run."""
        with self.database.session() as session:
            if change_status(session, job, expected="queued", new="running"):
                add_event(session, job.id, "started", "Fine-tuning job started")

    def _validate(self, job: Job) -> None:
        try:
            training, validation = self._read_files(job)
        except InvalidTrainingFile as error:
            self._fail(job, error.code, error.message, error.param)
            return
        base = self._find_base(job)
        if base is None:
            message = f"The model `{job.model}` has been deleted. Create the job with another one."
            self._fail(job, "model_not_found", message, "model")
            return
        write_job_files(
            self._directory(job), job, base, training, validation, self.config, self.attempts.launcher.train_keys
        )
        with self.database.session() as session:
            if change_status(session, job, expected="validating_files", new="queued"):
                for number, warning in enumerate(training.warnings, start=1):
                    add_event(session, job.id, f"warning-{number}", warning, level="warn")
                add_event(session, job.id, "validated", "Files validated, moving job to queued state")

    def _read_files(self, job: Job) -> tuple[TrainingExamples, TrainingExamples | None]:
        files = self.state / "files"
        max_bytes = self.config.max_line_bytes
        training = read_training_file(files / job.training_file, max_line_bytes=max_bytes)
        if job.validation_file is None:
            return training, None
        validation = read_training_file(files / job.validation_file, max_line_bytes=max_bytes, param="validation_file")
        check_against_validation(training, validation)
        return training, validation

    def _find_base(self, job: Job) -> Base | None:
        location = self.config.models.get(job.model)
        if location is not None:
            path = Path(location).expanduser()
            return Base(str(path.resolve()) if path.exists() else location, is_run=(path / "run.json").is_file())
        with self.database.read_session() as session:
            model = session.get(Model, job.model)
        if model is None or model.project_id != job.project_id or model.deleted_at is not None:
            return None
        return Base(str(self.state / "jobs" / model.job_id / "run"), is_run=True)

    def _run(self, job: Job) -> None:
        directory = self._directory(job)
        outcome = self.attempts.run(job.id, directory, ["-m", "jobs.pipeline", "--config", str(directory / TOML_NAME)])
        progress = read_progress(directory / "run")
        if progress.steps:
            with self.database.session() as session:
                lock_job(session, job.id)
                if is_running(session, job):
                    record_progress(session, job, progress, num_examples=read_num_examples(directory))
        if outcome.status == "succeeded":
            self._succeed(job, progress)
        elif outcome.status != "running":
            self._fail_after(job, outcome)

    def _succeed(self, job: Job, progress: TrainingProgress) -> None:
        """Register the model and the result file, in the same step as the status."""
        file_id, source = make_result_id("result", job.id), self._directory(job) / RESULT_FILENAME
        source.write_bytes(make_result_file(progress))
        model_id = make_model_id(job, self.config)
        with self.database.session() as session:
            is_first = change_status(
                session,
                job,
                expected="running",
                new="succeeded",
                finished_at=now_s(),
                fine_tuned_model=model_id,
                trained_tokens=count_trained_tokens(progress),
                result_files=[file_id],
            )
            if not is_first:
                return
            add_result_file(
                self.service, session, project_id=job.project_id, source=source, filename=RESULT_FILENAME,
                purpose=FINE_TUNE_RESULTS, file_id=file_id,
            )  # fmt: skip
            bundle = f"jobs/{job.id}/bundle"
            model = Model(id=model_id, project_id=job.project_id, job_id=job.id, created_at=now_s(), bundle=bundle)
            session.add(model)
            add_event(session, job.id, "model", f"New fine-tuned model created: {model_id}")
            add_event(session, job.id, "ended", "The job has successfully completed")

    def _fail_after(self, job: Job, outcome: Outcome) -> None:
        """Fail a job whose command refused its input, or failed too often."""
        if outcome.status == "refused" and outcome.message:
            self._fail(job, "invalid_input", f"The job was refused: {outcome.message}", None)
        else:
            self.give_up(job)

    def give_up(self, job: Job) -> None:
        """Fail a job whose steps fail by an error of the server."""
        if job.status not in ENDED:
            self._fail(job, "server_error", SERVER_ERROR, None)

    def _fail(self, job: Job, code: str, message: str, param: str | None) -> None:
        error = {"code": code, "message": message, "param": param}
        with self.database.session() as session:
            if change_status(session, job, expected=job.status, new="failed", finished_at=now_s(), error=error):
                add_event(session, job.id, "ended", message, level="error")

    def _directory(self, job: Job) -> Path:
        return self.state / "jobs" / job.id


def is_running(session: Session, job: Job) -> bool:
    """Whether a job still runs, which its project may have changed since it was read."""
    return session.scalar(select(Job.status).where(Job.id == job.id)) == "running"


def make_model_id(job: Job, config: OpenAiApiConfig) -> str:
    """Return the id that the model of a job has or will have; a model that was tuned before gives its base's name."""
    base = job.model.split(":")[1] if job.model.startswith("ft:") else job.model
    ending = hashlib.sha256(job.id.encode()).hexdigest()[:NUM_MODEL_CHARACTERS]
    return f"ft:{base}:{config.organization}:{job.suffix or ''}:{ending}"

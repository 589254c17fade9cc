"""Puts models into the state of a service without a training."""

from pathlib import Path
from typing import Any

from sentiment_ray.openai_api.ids import now_s
from sentiment_ray.openai_api.tables import File, Job, Model, Project
from tests.openai_api.running import MODEL, RunningService
from tests.serve.running import copy_bundle


def place_base_model(running: RunningService, labels: tuple[str, ...]) -> None:
    """Let the small bundle be that of the base model, as if it had been exported."""
    copy_bundle(running.service.models.base_models.find_bundle(MODEL), labels=labels)


def add_tuned_model(running: RunningService, model_id: str, labels: tuple[str, ...]) -> None:
    """Add a fine-tuned model of the default project, whose bundle is the small one with some labels."""
    bundle = running.service.state / "jobs" / model_id.rpartition(":")[2] / "bundle"
    copy_bundle(bundle, labels=labels)
    add_model_rows(running, model_id, bundle)


def add_model_rows(running: RunningService, model_id: str, bundle: Path) -> None:
    """Add the rows of a fine-tuned model of the default project, whose bundle is there."""
    service, ending = running.service, model_id.rpartition(":")[2]
    with service.database.session() as session:
        project = session.query(Project).filter_by(name="default").one()
        owned: dict[str, Any] = {"project_id": project.id, "created_at": now_s()}
        file = {"filename": "f", "purpose": "fine-tune", "num_bytes": 1, "sha256": "0" * 64}
        session.add(File(id=f"file-{ending}", **file, **owned))
        session.flush()
        job: dict[str, Any] = {"status": "succeeded", "seed": 0, "hyperparameters": {}, "details": {}}
        job |= {"model": MODEL, "training_file": f"file-{ending}", "fine_tuned_model": model_id}
        session.add(Job(id=f"ftjob-{ending}", **job, **owned))
        session.flush()
        path = str(bundle.relative_to(service.state))
        session.add(Model(id=model_id, job_id=f"ftjob-{ending}", bundle=path, **owned))

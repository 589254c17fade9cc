"""A fine-tuning job from its file to its model, read with the strict client."""

import base64
import re

import pytest

from sentiment_ray.bundle.open import open_bundle
from tests.openai_api.fine_tuning import (
    FineTuned,
    create_job,
    find_processes,
    list_events,
    select_examples,
    upload,
    wait_for_status,
)
from tests.openai_api.running import MODEL, RunningService


def test_a_job_succeeds_with_a_model_and_a_result_file(fine_tuned: FineTuned, state_service: RunningService) -> None:
    job = fine_tuned.job
    assert (job.status, job.error, job.seed, job.model) == ("succeeded", None, 1, MODEL)
    assert re.fullmatch(rf"ft:{re.escape(MODEL)}:local:mood:[0-9a-f]{{8}}", fine_tuned.model)
    assert job.finished_at and job.finished_at >= job.created_at
    assert job.trained_tokens and job.trained_tokens > 1000
    assert job.metadata == {"team": "news"}
    (file_id,) = job.result_files
    assert fine_tuned.client.files.retrieve(file_id).purpose == "fine-tune-results"
    lines = base64.b64decode(fine_tuned.client.files.content(file_id).read()).decode().splitlines()
    assert lines[0] == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    assert [line.partition(",")[0] for line in lines[1:]] == [str(step) for step in range(1, len(lines))]
    assert find_processes(state_service.service.state, [job.id]) == []


def test_auto_becomes_the_numbers_that_the_training_has_chosen(fine_tuned: FineTuned) -> None:
    """66 examples in batches of 8 take 9 steps a pass; 24 passes are the first number of them with 200 steps."""
    chosen = fine_tuned.job.hyperparameters
    assert (chosen.n_epochs, chosen.batch_size, chosen.learning_rate_multiplier) == (24, 8, 2.0)
    assert fine_tuned.job.method and fine_tuned.job.method.supervised
    assert fine_tuned.job.method.supervised.hyperparameters


def test_events_are_told_once_in_the_hosted_wording(fine_tuned: FineTuned) -> None:
    job = fine_tuned.job
    events = list_events(fine_tuned.client, job.id, limit=50)
    messages = [event.message for event in events]
    steps = [event for event in events if event.type == "metrics"]
    assert messages[:4] == [
        f"Created fine-tuning job: {job.id}",
        f"Validating training file: {job.training_file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
    ]
    assert messages[-2:] == [f"New fine-tuned model created: {fine_tuned.model}", "The job has successfully completed"]
    assert len(set(messages)) == len(messages) == len({event.id for event in events})
    data = [event.data for event in steps]
    assert [values["step"] for values in data if isinstance(values, dict)] == list(range(1, 217))
    first = data[0]
    assert isinstance(first, dict)
    assert steps[0].message == f"Step 1/216: training loss={first['train_loss']:.2f}"


def test_pages_of_one_event_list_each_once(fine_tuned: FineTuned) -> None:
    newest = fine_tuned.client.fine_tuning.jobs.list_events(fine_tuned.job.id, limit=50).data
    paged = []
    for event in fine_tuned.client.fine_tuning.jobs.list_events(fine_tuned.job.id, limit=1):
        paged.append(event.id)
        if len(paged) == 50:
            break
    assert paged == [event.id for event in newest]


def test_checkpoints_are_the_finished_epochs(fine_tuned: FineTuned) -> None:
    checkpoints = list(fine_tuned.client.fine_tuning.jobs.checkpoints.list(fine_tuned.job.id, limit=1))
    assert [checkpoint.step_number for checkpoint in checkpoints] == [216, 108]
    for checkpoint in checkpoints:
        assert checkpoint.fine_tuned_model_checkpoint == f"{fine_tuned.model}:ckpt-step-{checkpoint.step_number}"
        assert checkpoint.metrics.step == checkpoint.step_number
        assert checkpoint.metrics.train_loss and checkpoint.metrics.full_valid_loss is None


def test_a_bundle_keeps_the_system_messages(fine_tuned: FineTuned, state_service: RunningService) -> None:
    manifest = open_bundle(state_service.service.state / "jobs" / fine_tuned.job.id / "bundle").manifest
    assert manifest.labels == ("Negative", "Neutral", "Positive")
    (message,) = manifest.metadata["system_messages"]
    assert message.startswith("Classify the sentiment")


def test_jobs_are_listed_by_their_metadata(fine_tuned: FineTuned) -> None:
    jobs = fine_tuned.client.fine_tuning.jobs
    assert fine_tuned.job.id in [job.id for job in jobs.list(metadata={"team": "news"})]
    assert list(jobs.list(metadata={"team": "sports"})) == []


def test_a_job_that_has_ended_stays_as_it_is(fine_tuned: FineTuned, state_service: RunningService) -> None:
    for action, word in (("cancel", "cancelled"), ("pause", "paused"), ("resume", "resumed")):
        path = f"/v1/fine_tuning/jobs/{fine_tuned.job.id}/{action}"
        answer = state_service.ask("POST", path, key=fine_tuned.key)
        assert (answer.status, answer.headers["x-should-retry"]) == (409, "false")
        assert answer.error["message"] == f"The job {fine_tuned.job.id} is succeeded, so it cannot be {word}."


@pytest.mark.parametrize("path", ["", "/events", "/checkpoints"])
def test_another_project_sees_no_job(fine_tuned: FineTuned, state_service: RunningService, key: str, path: str) -> None:
    answer = state_service.ask("GET", f"/v1/fine_tuning/jobs/{fine_tuned.job.id}{path}", key=key)
    assert (answer.status, answer.error["message"]) == (404, f"No such FineTuningJob object: {fine_tuned.job.id}")


@pytest.mark.slow
def test_a_model_is_tuned_further_with_a_validation_file_and_given_numbers(fine_tuned: FineTuned) -> None:
    client = fine_tuned.client
    validation = upload(client, select_examples(5, skip=60))
    numbers = {"n_epochs": 2, "batch_size": 16, "learning_rate_multiplier": 1.5}
    job = create_job(
        client,
        select_examples(15, skip=40),
        model=fine_tuned.model,
        validation_file=validation,
        method={"type": "supervised", "supervised": {"hyperparameters": numbers}},
    )
    job = wait_for_status(client, job.id)
    assert job.status == "succeeded", job.error
    assert job.fine_tuned_model and job.fine_tuned_model.startswith(f"ft:{MODEL}:local::")
    assert job.hyperparameters.model_dump() == numbers
    checkpoints = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert [checkpoint.step_number for checkpoint in checkpoints] == [6, 3]
    assert all(checkpoint.metrics.full_valid_loss for checkpoint in checkpoints)

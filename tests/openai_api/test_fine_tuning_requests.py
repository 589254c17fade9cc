"""What a request for a job gets: a job, the first one again, or a refusal that names the field."""

from typing import Any

import openai
import pytest

from sentiment_ray.openai_api.hyperparameters import make_train_keys, read_chosen
from tests.openai_api.fine_tuning import create_job, select_examples, upload, wait_for_status
from tests.openai_api.running import MODEL, RunningService

JOBS = "/v1/fine_tuning/jobs"
AUTO = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}


@pytest.fixture
def file_id(client: openai.OpenAI) -> str:
    return upload(client, select_examples())


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"suffix": "a b"}, "suffix", "Invalid value for 'suffix'"),
        ({"suffix": "x" * 65}, "suffix", "Invalid value for 'suffix'"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", "a whole number from 1 to 50"),
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs", "a whole number from 1 to 50"),
        ({"hyperparameters": {"n_epochs": 2.5}}, "hyperparameters.n_epochs", "a whole number from 1 to 50"),
        ({"hyperparameters": {"batch_size": 257}}, "hyperparameters.batch_size", "a whole number from 1 to 256"),
        (
            {"hyperparameters": {"learning_rate_multiplier": 0}},
            "hyperparameters.learning_rate_multiplier",
            "a number above 0",
        ),
        ({"method": {"type": "dpo"}}, "method", "The method 'dpo' is not supported. Use 'supervised'."),
        ({"method": {"type": "reinforcement", "reinforcement": {}}}, "method", "Use 'supervised'."),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations", "'wandb'"),
        ({"seed": -1}, "seed", "Invalid value for 'seed'"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k", "Invalid value"),
        ({"beta": 1}, None, "Unrecognized request argument supplied: beta"),
        ({"model": "gpt-9"}, "model", "The model `gpt-9` does not exist"),
        ({"training_file": "file-none"}, "id", "No such File object: file-none"),
    ],
)
def test_a_request_that_cannot_be_done_is_refused(
    state_service: RunningService, key: str, file_id: str, fields: dict[str, Any], param: str | None, message: str
) -> None:
    body = {"model": MODEL, "training_file": file_id, **fields}
    answer = state_service.ask("POST", JOBS, body, key=key)
    assert answer.status == (404 if message.startswith(("The model", "No such")) else 400)
    assert (answer.error["param"], message in answer.error["message"]) == (param, True), answer.error


def test_a_create_whose_answer_was_lost_finds_the_first_job(
    state_service: RunningService, client: openai.OpenAI, key: str, file_id: str
) -> None:
    body = {"model": MODEL, "training_file": file_id}
    ids = []
    for retries in ("0", "1", "2", "0"):
        answer = state_service.ask("POST", JOBS, body, {"x-stainless-retry-count": retries}, key=key)
        ids.append(answer.json["id"])
    assert ids[0] == ids[1] == ids[2] != ids[3]
    for job_id in set(ids):
        assert client.fine_tuning.jobs.cancel(job_id).status == "cancelled"
        assert client.fine_tuning.jobs.list_events(job_id).data[0].message == "Fine-tuning job cancelled"


def test_hyperparameters_that_are_given_are_honoured() -> None:
    given = {"n_epochs": 5, "batch_size": 16, "learning_rate_multiplier": 3.0}
    keys = make_train_keys(given, num_examples=500, max_tokens=128, has_new_head=True)
    assert keys == {
        "epochs": 5,
        "passes_per_epoch": 1,
        "rows_per_batch": 16,
        "tokens_per_batch": 2048,
        "learning_rate": pytest.approx(1.5e-4),
    }
    run = {"config": {"epochs": 5}, "chosen": {"passes_per_epoch": 1, "rows_per_batch": 16, "learning_rate": 1.5e-4}}
    assert read_chosen(run, num_examples=500, total_steps=160) == given


def test_a_batch_size_alone_still_gives_enough_steps() -> None:
    keys = make_train_keys(AUTO | {"batch_size": 32}, num_examples=66, max_tokens=128, has_new_head=True)
    assert 2 * keys["passes_per_epoch"] * 3 >= 200
    assert (keys["contrastive_weight"], keys["learning_rate"]) == (1.0, 1e-4)
    assert make_train_keys(AUTO, num_examples=66, max_tokens=128, has_new_head=True) == {}


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (
            select_examples(1),
            "invalid_n_examples",
            "Training file has 3 example(s), but must have at least 10 examples",
        ),
        (b'{"prompt": "a", "completion": "b"}\n' * 12, "invalid_training_file", "Invalid file format."),
    ],
)
def test_a_file_that_is_wrong_inside_fails_the_job(
    client: openai.OpenAI, content: bytes, code: str, message: str
) -> None:
    job = wait_for_status(client, create_job(client, content).id, ("failed",))
    assert job.error and job.error.code == code and message in job.error.message
    assert job.error.param == "training_file"
    events = client.fine_tuning.jobs.list_events(job.id).data
    assert (events[0].level, events[0].message) == ("error", job.error.message)
    assert len(events) == 3


def test_texts_that_stand_in_both_files_fail_the_job(client: openai.OpenAI) -> None:
    other = upload(client, select_examples(2, skip=20) + select_examples(2, skip=30))
    job = wait_for_status(client, create_job(client, select_examples(), validation_file=other).id, ("failed",))
    assert job.error and job.error.param == "validation_file"
    assert "6 of its texts stand in the training file too" in job.error.message

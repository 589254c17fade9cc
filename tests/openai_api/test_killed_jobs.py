"""The service, the command of a job and its wrapper are killed: each job ends once, with the undisturbed weights."""

import random
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest
from openai.types.fine_tuning import FineTuningJob

from tests.conftest import find_free_port
from tests.openai_api.fine_tuning import (
    ENDED,
    create_job,
    find_processes,
    hash_weights,
    list_events,
    select_examples,
    wait_for_status,
)
from tests.openai_api.service_process import ServiceProcess
from tests.openai_api.test_request_batches import create_batch, make_requests, read_lines, wait_for_batch

pytestmark = pytest.mark.kills
PARTS = ("service", "command", "wrapper")
WAIT_S = 600
CANCEL_LIMIT_S = 25


@dataclass
class Undisturbed:
    """A service whose first job ran undisturbed."""

    service: ServiceProcess
    client: openai.OpenAI
    job: FineTuningJob
    weights: str


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Iterator[Undisturbed]:
    service = ServiceProcess(tmp_path_factory.mktemp("kills"), tiny_encoder, find_free_port())
    with service.running():
        client = service.make_client()
        job = wait_for_status(client, create_job(client, select_examples()).id)
        assert job.status == "succeeded", job.error
        yield Undisturbed(service, client, job, hash_weights(service.state, job.id))


def _check_ended_once(undisturbed: Undisturbed, job_id: str) -> None:
    """The job has one model, each event once, the weights of the undisturbed job, and no process."""
    client, state = undisturbed.client, undisturbed.service.state
    job = client.fine_tuning.jobs.retrieve(job_id)
    assert job.status == "succeeded", job.error
    assert [model.id for model in client.models.list()].count(job.fine_tuned_model or "") == 1
    messages = [event.message for event in list_events(client, job_id) if "paused" not in event.message]
    messages = [message for message in messages if "resumed" not in message]
    expected = [event.message for event in list_events(client, undisturbed.job.id)]
    assert sorted(messages[2:-2]) == sorted(expected[2:-2])  # ids stand in the others
    assert len(job.result_files) == 1
    assert hash_weights(state, job_id) == undisturbed.weights
    assert find_processes(state, [job_id]) == []
    with sqlite3.connect(state / "state.sqlite") as database:
        assert database.execute("SELECT count(*) FROM models WHERE job_id = ?", (job_id,)).fetchone() == (1,)


def _disturb(undisturbed: Undisturbed, directory: Path, generator: random.Random, num_kills: int, done: str) -> int:
    """Kill parts at random moments until an object has ended; return the number of kills."""
    service, kills = undisturbed.service, 0
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        time.sleep(generator.uniform(0.5, 12))
        if _read_status(service.state, done) in (*ENDED, "completed"):
            break
        part = generator.choice(PARTS)
        if kills == num_kills:
            continue
        if part == "service":
            service.kill()
            time.sleep(generator.uniform(0, 2))
            service.start()
            kills += 1
        else:
            kills += service.kill_part(directory, part)
    return kills


def _read_status(state: Path, object_id: str) -> str:
    table = "jobs" if object_id.startswith("ftjob-") else "batches"
    with sqlite3.connect(state / "state.sqlite") as database:
        return str(database.execute(f"SELECT status FROM {table} WHERE id = ?", (object_id,)).fetchone()[0])


@pytest.mark.parametrize(
    ("num_kills", "seed"), [(4, 0), *(pytest.param(10, seed, marks=pytest.mark.slow) for seed in (1, 2, 3))]
)
def test_a_job_that_is_killed_again_and_again_ends_once_with_the_same_weights(
    undisturbed: Undisturbed, num_kills: int, seed: int
) -> None:
    generator, done = random.Random(seed), 0
    while done < num_kills:
        job = create_job(undisturbed.client, select_examples())
        directory = undisturbed.service.state / "jobs" / job.id
        done += _disturb(undisturbed, directory, generator, num_kills - done, job.id)
        _check_ended_once(undisturbed, job.id)


def test_pause_and_resume_give_the_undisturbed_weights_and_another_job_waits(undisturbed: Undisturbed) -> None:
    client, state = undisturbed.client, undisturbed.service.state
    job = create_job(client, select_examples())
    second = create_job(client, select_examples())
    wait_for_status(client, job.id, ("running",))
    while not list((state / "jobs" / job.id / "run").glob("steps.jsonl")):
        time.sleep(0.2)
    assert wait_for_status(client, second.id, ("queued",)).status == "queued"
    assert client.fine_tuning.jobs.cancel(second.id).status == "cancelled"
    assert client.fine_tuning.jobs.pause(job.id).status == "paused"
    _wait_until_nothing_runs(state, job.id)
    assert client.fine_tuning.jobs.retrieve(job.id).status == "paused"
    client.fine_tuning.jobs.resume(job.id)
    wait_for_status(client, job.id)
    _check_ended_once(undisturbed, job.id)


def test_a_job_that_is_cancelled_leaves_no_process(undisturbed: Undisturbed) -> None:
    client, state = undisturbed.client, undisturbed.service.state
    job = create_job(client, select_examples())
    wait_for_status(client, job.id, ("running",))
    while not list((state / "jobs" / job.id / "prepared").glob("prepared.json")):
        time.sleep(0.2)
    client.fine_tuning.jobs.cancel(job.id)
    _wait_until_nothing_runs(state, job.id)
    assert client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model is None


def _wait_until_nothing_runs(state: Path, job_id: str) -> None:
    end = time.monotonic() + CANCEL_LIMIT_S
    while find_processes(state, [job_id]):
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.parametrize(("num_requests", "num_kills"), [(2_000, 2), pytest.param(100_000, 5, marks=pytest.mark.slow)])
def test_a_batch_that_is_killed_answers_each_request_once(
    undisturbed: Undisturbed, num_requests: int, num_kills: int
) -> None:
    client, model = undisturbed.client, undisturbed.job.fine_tuned_model or ""
    bodies = [{"messages": [{"role": "user", "content": f"Text {number}"}]} for number in range(num_requests)]
    batch = create_batch(client, make_requests(model, bodies))
    directory = undisturbed.service.state / "batches" / batch.id
    assert _disturb(undisturbed, directory, random.Random(1), num_kills, batch.id) == num_kills
    batch = wait_for_batch(client, batch.id, "completed")
    lines = read_lines(client, batch.output_file_id)
    assert [line["custom_id"] for line in lines] == [f"request {number}" for number in range(num_requests)]
    for number in range(0, num_requests, num_requests // 20):
        answer = client.chat.completions.create(model=model, **bodies[number])  # type: ignore[call-overload]
        batched = lines[number]["response"]["body"]["choices"][0]["message"]["content"]
        assert batched == answer.choices[0].message.content

"""Attempts as Ray Jobs of a real cluster: submitted once, found again, stopped, lost with their cluster."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from sentiment_ray.manifest import write_json
from sentiment_ray.openai_api.ids import make_id
from sentiment_ray.openai_api.launcher import RUNNING, AttemptState, ClusterAwayError
from sentiment_ray.openai_api.ray_submission import RayJobs
from tests.conftest import find_free_port
from tests.openai_api.fine_tuning import (
    create_job,
    find_processes,
    hash_weights,
    list_events,
    select_examples,
    wait_for_status,
)
from tests.openai_api.service_process import ServiceProcess

pytestmark = pytest.mark.kills
WAIT_S = 90
HEAD = """
import functools, sys, time, ray
from ray._private import parameter
# Two clusters of one machine cannot both have the usual port of the agent that runs jobs.
parameter.RayParams = functools.partial(parameter.RayParams, dashboard_agent_listen_port=int(sys.argv[2]))
dashboard = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": int(sys.argv[1])}
ray.init("local", num_cpus=2, object_store_memory=100e6, log_to_driver=False, **dashboard)
print(ray.get_runtime_context().gcs_address, flush=True)
time.sleep(3600)
"""


class Head:
    """A Ray cluster with a dashboard, as the child of a process that can be killed."""

    def __init__(self, port: int) -> None:
        self.address, self._port = f"http://127.0.0.1:{port}", port
        self.start()

    def start(self) -> None:
        """Start the cluster, also again after it was killed."""
        command = [sys.executable, "-c", HEAD, str(self._port), str(find_free_port())]
        environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        assert self._process.stdout
        self.gcs_address = self._process.stdout.readline().strip()
        assert self.gcs_address

    def kill(self) -> None:
        """Kill all processes of the cluster."""
        if self._process.poll() is None:
            root = psutil.Process(self._process.pid)
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.wait()


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    head = Head(find_free_port())
    monkeypatch.setenv("RAY_ADDRESS", head.address)
    yield head
    head.kill()


def make_attempt(directory: Path, code: str) -> str:
    attempt_id = make_id("attempt-")
    directory.mkdir()
    command = {"attempt": attempt_id, "command": [sys.executable, "-c", code], "directory": "/", "environment": {}}
    write_json(directory / "command.json", command)
    return attempt_id


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_attempts_run_as_ray_jobs_and_are_lost_with_their_cluster(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = RayJobs(cpus_per_job=1)
    assert jobs.count_slots() == 2
    monkeypatch.setenv("RAY_ADDRESS", head.gcs_address)
    by_gcs = RayJobs(cpus_per_job=0.5)
    assert by_gcs.count_slots() == 4
    monkeypatch.setenv("RAY_ADDRESS", head.address)
    done, long, stopped = tmp_path / "done o'clock", tmp_path / "long", tmp_path / "stopped"
    done_id = make_attempt(done, f"open({str(tmp_path / 'runs')!r}, 'a').write('x'); raise SystemExit(2)")
    assert jobs.read_state(done, done_id) == AttemptState(has_started=False)
    for launcher in (jobs, by_gcs):  # the answer to the first submission may have been lost
        wait_for(lambda launcher=launcher: _has_submitted(launcher, done, done_id))
    wait_for(lambda: jobs.read_state(done, done_id).exit_code == 2)
    assert (tmp_path / "runs").read_text() == "x"

    stopped_id = make_attempt(stopped, "import time; time.sleep(600)")
    jobs.start(stopped, stopped_id)
    wait_for((stopped / "process.json").exists)
    assert jobs.read_state(stopped, stopped_id) == RUNNING
    wait_for(lambda: jobs.stop(stopped, stopped_id))
    state = jobs.read_state(stopped, stopped_id)
    assert state.is_lost or state.exit_code

    long_id = make_attempt(long, "import time; time.sleep(600)")
    jobs.start(long, long_id)
    wait_for((long / "process.json").exists)
    head.kill()
    unknown = tmp_path / "unknown"
    unknown_id = make_attempt(unknown, "pass")
    with pytest.raises(ClusterAwayError):
        jobs.start(unknown, unknown_id)
    wait_for(lambda: _is_over(jobs, long, long_id))


def _has_submitted(jobs: RayJobs, directory: Path, attempt_id: str) -> bool:
    """Whether the cluster has taken an attempt; a new one has no agent for jobs yet."""
    with suppress(ClusterAwayError):
        jobs.start(directory, attempt_id)
        return True
    return False


def _is_over(jobs: RayJobs, directory: Path, attempt_id: str) -> bool:
    try:
        state = jobs.read_state(directory, attempt_id)
    except ClusterAwayError:
        return False
    return state.is_lost or state.exit_code is not None


@pytest.mark.slow
def test_two_jobs_on_a_cluster_finish_although_its_head_is_killed(
    head: Head, tmp_path: Path, tiny_encoder: Path
) -> None:
    """Both run at once, both go on in a new cluster at the same address, and both have the same weights."""
    service = ServiceProcess(tmp_path, tiny_encoder, find_free_port(), RAY_ADDRESS=head.address)
    with service.running():
        client = service.make_client()
        ids = [create_job(client, select_examples()).id for _ in range(2)]
        for job_id in ids:
            wait_for_status(client, job_id, ("running",))
        steps = [service.state / "jobs" / job_id / "run/steps.jsonl" for job_id in ids]
        wait_for(lambda: any(path.exists() for path in steps))
        head.kill()
        head.start()
        for job_id in ids:
            assert wait_for_status(client, job_id, wait_s=500).status == "succeeded"
            messages = [event.message for event in list_events(client, job_id)]
            assert len(set(messages)) == len(messages)
        assert len({hash_weights(service.state, job_id) for job_id in ids}) == 1
        assert find_processes(service.state, ids) == []

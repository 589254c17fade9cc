"""A cluster that cannot be joined, or that does not start, is one line that names the variable and what to do."""

import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psutil
import pytest
import ray
from ray.exceptions import AuthenticationError, RpcError

from sentiment_ray import cluster, cluster_address
from sentiment_ray.cluster_address import find_cluster
from sentiment_ray.errors import ClusterError, ConfigError
from sentiment_ray.ray_directory import MAX_DIRECTORY_BYTES, choose_temporary_directory
from tests.situations.run_job import run_job

SAME_VERSIONS = {"ray_version": ray.__version__, "python_version": platform.python_version()}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_address, "LISTEN_S", 0.0)
    monkeypatch.setattr(cluster_address, "ANSWER_S", 0.5)
    monkeypatch.setattr(cluster, "atexit", Mock())


@pytest.fixture
def listener() -> Iterator[str]:
    """The address of a server that says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_an_address_where_no_cluster_can_be_is_named(
    free_ports: list[int], listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address, words in {
        f"127.0.0.1:{free_ports[0]}": "no Ray cluster answers there .*refused",
        f" localhost:{free_ports[1]} ": "no Ray cluster answers there",
        f"[::1]:{free_ports[2]}": "no Ray cluster answers there",
        "no-such-host.invalid:6379": "no Ray cluster answers there .the host is unknown",
        listener: "something listens there, but no Ray cluster answered within 0.5 s",
        "a..b:6379": "no Ray cluster answers there .no host can have this name",
        f"{'x' * 70}.org:6379": "no host can have this name",
        "garbage": "is not the address of a cluster. Write HOST:PORT",
        "127.0.0.1:": "is not the address of a cluster",
        "127.0.0.1:99999": "is not the address of a cluster",
        "127.0.0.1:http": "is not the address of a cluster",
        "http://127.0.0.1:8265": "is not the address of a cluster.*give the dashboard with --address",
        "os://path": "is not the address of a cluster",
        "ray://127.0.0.1:10001": "address of a Ray Client.*ray job submit",
    }.items():
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ConfigError, match=re.escape(f"RAY_ADDRESS = {address.strip()!r}") + f".*{words}"):
            find_cluster()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (SAME_VERSIONS | {"ray_version": "2.40.0"}, f"has Ray 2.40.0, and this job has Ray {ray.__version__}"),
        (SAME_VERSIONS | {"python_version": "3.9.1"}, "has Python 3.9.1, and this job has Python 3"),
        (AuthenticationError("no token"), "wants a token.*RAY_AUTH_TOKEN_PATH"),
        (RpcError("Unauthenticated: InvalidAuthToken"), "wants a token"),
        (RpcError("Method not found!"), "cannot join what answers there .Method not found"),
        (SAME_VERSIONS, "this machine is no node of that cluster"),
    ],
)
def test_a_cluster_that_does_not_fit_is_named(
    answer: Any, words: str, listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", listener)
    monkeypatch.setattr(cluster_address, "_ask_cluster", Mock(return_value=answer))
    monkeypatch.setattr(cluster_address.services, "find_node_ids", Mock(return_value=set()))
    with pytest.raises(ConfigError, match=f"RAY_ADDRESS = {listener!r}.*{words}"):
        find_cluster()


def test_auto_needs_a_cluster_and_no_address_does_not(
    listener: str, free_ports: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    noted, running = Mock(return_value=None), Mock(return_value=set())
    monkeypatch.setattr(cluster_address.services, "find_bootstrap_address", noted)
    monkeypatch.setattr(cluster_address.services, "find_gcs_addresses", running)
    monkeypatch.setattr(cluster_address, "maybe_enable_token_auth_if_token_available", Mock())
    monkeypatch.setattr(cluster_address.services, "find_node_ids", Mock(return_value={"node"}))
    answer = Mock(return_value=SAME_VERSIONS | {"ray_init_cluster": True})
    monkeypatch.setattr(cluster_address, "_ask_cluster", answer)
    gone = f"127.0.0.1:{free_ports[0]}"
    for address in (None, gone, listener):  # none, one that is gone, one that another job started for itself
        noted.return_value, running.return_value = address, {listener}
        monkeypatch.setenv("RAY_ADDRESS", "auto")
        with pytest.raises(ConfigError, match="RAY_ADDRESS = 'auto', but no Ray cluster runs on this machine"):
            find_cluster()
        for unset in ("", " ", "local"):
            monkeypatch.setenv("RAY_ADDRESS", unset)
            assert find_cluster() is None
        monkeypatch.delenv("RAY_ADDRESS")
        assert find_cluster() is None
    answer.return_value = SAME_VERSIONS | {"ray_init_cluster": False}
    assert find_cluster() == listener
    noted.return_value = gone
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert find_cluster() == listener


@pytest.mark.usefixtures("ray_cluster")
def test_a_real_cluster_answers_with_its_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    address = ray.get_runtime_context().gcs_address
    monkeypatch.setattr(cluster_address, "ANSWER_S", 20.0)
    answer = cluster_address._ask_cluster(address)
    assert isinstance(answer, dict)
    assert answer.items() >= (SAME_VERSIONS | {"ray_init_cluster": True}).items()
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert find_cluster() == address


@pytest.mark.usefixtures("ray_cluster")
def test_a_job_ends_with_one_line_where_nobody_listens(
    free_ports: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    rows = (f"text {number},{('negative', 'neutral', 'positive')[number % 3]}\n" for number in range(60))
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(rows))
    paths = ("--input", str(tmp_path / "a.csv"), "--output", str(tmp_path / "out"))
    for address in (f"127.0.0.1:{free_ports[0]}", "http://127.0.0.1:8265"):
        actual = run_job("prepare_reviews", *paths, env={"RAY_ADDRESS": address})
        assert (actual.exit_code, len(actual.error_lines), actual.stdout) == (2, 1, "")
        assert "RAY_ADDRESS" in actual.error_lines[0]
        assert "Traceback" not in actual.stderr
    assert not (tmp_path / "out").exists()


def test_a_start_that_times_out_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    timeout = Exception("The current node timed out during startup. This could happen because ...")
    init = Mock(side_effect=[timeout, None])
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(cluster, "_list_children_except", Mock(return_value=[]))
    cluster._start_cluster({})
    assert init.call_count == 2
    init.side_effect = timeout
    with pytest.raises(ClusterError, match="did not start on this machine in 3 attempts"):
        cluster._start_cluster({})
    init.side_effect = RuntimeError("something else")
    with pytest.raises(RuntimeError, match="something else"):
        cluster._start_cluster({})
    assert init.call_count == 2 + 3 + 1


USE_OWN_CLUSTER = """
import os, psutil, signal
import ray
from ray._private.node import Node
from sentiment_ray.cluster import connect

@ray.remote(num_cpus=0)
class Holder:
    def read_pid(self):
        return os.getpid()

connect()
holder = Holder.remote()
worker = psutil.Process(ray.get(holder.read_pid.remote()))
raylet = worker.parent()
print(ray.nodes()[0]["MetricsExportPort"], worker.pid, worker.create_time(), raylet.name())

def kill_on_a_busy_machine(node, kill=Node.kill_all_processes, **options):
    raylet.send_signal(signal.SIGSTOP)
    kill(node, **options)

# The raylet has no time to end its workers before it is killed, and a worker does not notice that.
worker.send_signal(signal.SIGSTOP)
Node.kill_all_processes = kill_on_a_busy_machine
"""


@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_of_a_job_exports_no_metrics_and_leaves_no_process() -> None:
    environment = os.environ | {"RAY_ADDRESS": "local"}
    command = [sys.executable, "-c", USE_OWN_CLUSTER]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    port, pid, started_at, parent = done.stdout.split()
    assert (port, parent) == ("-1", "raylet")
    left = [each for each in psutil.process_iter() if (each.pid, each.create_time()) == (int(pid), float(started_at))]
    for process in left:
        process.kill()
    assert not left, "the worker has outlived its driver"


def test_what_is_set_for_a_cluster_of_a_job_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", Mock())
    for name in cluster.OWN_CLUSTER:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_enable_metrics_collection", "1")
    cluster._start_cluster({})
    assert {name: os.environ[name] for name in cluster.OWN_CLUSTER} == {
        **cluster.OWN_CLUSTER, "RAY_enable_metrics_collection": "1"
    }  # fmt: skip


def test_sockets_get_a_short_directory_that_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    long = tmp_path / ("a-job-of-the-batch-system-" * 5)
    long.mkdir()
    for directory in (str(long), "/proc", "/dev/null", "/nowhere/at/all", "relative"):
        monkeypatch.setenv("TMPDIR", directory)
        assert choose_temporary_directory() == "/tmp/ray"
    for directory in ("/tmp", "/tmp/", "/dev/shm"):
        monkeypatch.setenv("TMPDIR", directory)
        assert choose_temporary_directory() is None
    assert capsys.readouterr().err == ""
    for directory in (str(long), "/proc", "/nowhere"):
        monkeypatch.setenv("RAY_TMPDIR", directory)
        assert choose_temporary_directory() == "/tmp/ray"
        line = capsys.readouterr().err
        assert line.startswith(f"warning: RAY_TMPDIR = {directory!r} cannot hold Ray's sockets: ")
        assert line.endswith("Ray's files are in /tmp/ray.\n")
    monkeypatch.setattr("sentiment_ray.ray_directory._can_hold_sockets", lambda directory: False)
    with pytest.raises(ConfigError, match=f"at most {MAX_DIRECTORY_BYTES} bytes.*RAY_TMPDIR"):
        choose_temporary_directory()

"""Several processes serve on one socket: one that dies is replaced, all reload, and all end without a lost request."""

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.running import GOLDEN, Running, copy_bundle, run
from tests.serve.test_reload import Clients, wait_until


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    shutil.copytree(GOLDEN, tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def service(bundle: Path) -> Iterator[Running]:
    with run(bundle, "--workers", "2") as running:
        yield running


def list_workers(service: Running) -> list[int]:
    """Return the process ids of the workers."""
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    return sorted(map(int, children))


def count_threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def test_workers_share_the_socket_and_their_counts_are_one_sum(service: Running) -> None:
    assert re.search(r"with 2 workers", "".join(service.log))
    assert len(list_workers(service)) == 2
    for _ in range(40):
        assert service.ask("POST", "/predict", {"inputs": "tea"}).status == 200
    wait_until(
        lambda: service.read_metrics()["sentiment_ray_requests_total{route=/predict,status=200}"] == 40,
        "the counts of the workers are not added up",
    )


def test_a_worker_that_dies_is_replaced_and_the_other_goes_on(service: Running) -> None:
    first, second = list_workers(service)
    os.kill(first, signal.SIGKILL)
    for _ in range(10):
        assert service.ask("POST", "/predict", {"inputs": "tea"}).status == 200
    wait_until(lambda: len(list_workers(service)) == 2 and first not in list_workers(service), "no other worker")
    assert second in list_workers(service)
    wait_until(lambda: any("exit code -9" in line for line in service.log), "nobody was told")


def test_a_reload_that_one_worker_was_asked_for_reaches_all(service: Running, bundle: Path) -> None:
    expected = copy_bundle(bundle, max_tokens=20)
    clients = Clients(service)
    assert service.ask("POST", "/admin/reload").json == {"bundle_id": expected}
    ids: list[str] = []
    wait_until(
        lambda: ids.append(service.ask("GET", "/info").json["bundle_id"]) or ids[-20:] == [expected] * 20,
        "a worker has the old bundle",
    )
    clients.stop()
    assert clients.statuses.keys() == {200}, clients.statuses


def test_all_workers_end_and_no_accepted_request_is_lost(service: Running) -> None:
    workers = list_workers(service)
    clients = Clients(service)
    time.sleep(0.3)
    service.process.terminate()
    assert service.process.wait(timeout=20) == 0
    clients.stop()
    refused = {status for status in clients.statuses if status != 200}
    assert all("ConnectionRefusedError" in str(error) for error in refused), refused
    assert [pid for pid in workers if Path(f"/proc/{pid}").exists()] == []


def test_workers_end_when_their_supervisor_is_killed(service: Running) -> None:
    workers = list_workers(service)
    service.process.kill()
    wait_until(lambda: not [pid for pid in workers if Path(f"/proc/{pid}").exists()], "a worker goes on alone")


def test_a_bundle_that_no_worker_can_load_is_named_once() -> None:
    with pytest.raises(AssertionError, match="nowhere") as failed, run(Path("nowhere"), "--workers", "2"):
        pass
    assert str(failed.value).count("error: ") == 1

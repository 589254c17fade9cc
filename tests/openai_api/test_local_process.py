"""Attempts outlive the service, are found again, run at most once, and leave no process behind."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sentiment_ray.manifest import write_json
from sentiment_ray.openai_api import local_process
from sentiment_ray.openai_api.attempt_process import claim_attempt, read_process
from sentiment_ray.openai_api.ids import make_id
from sentiment_ray.openai_api.launcher import RUNNING
from sentiment_ray.openai_api.local_process import LocalProcesses
from sentiment_ray.openai_api.sessions import ProcessIdentity, identify, is_alive, list_session

WAIT_S = 30


@pytest.fixture(autouse=True)
def little_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_process, "GRACE_S", 0.5)


CHILD = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


class Attempt:
    """An attempt that runs some Python code, in a directory of its own."""

    def __init__(self, directory: Path, code: str) -> None:
        self.directory, self.id = directory, make_id("attempt-")
        self.launcher = LocalProcesses()
        command = {"attempt": self.id, "command": [sys.executable, "-c", code], "directory": "/", "environment": {}}
        write_json(directory / "command.json", command)

    def start(self) -> None:
        self.launcher.start(self.directory, self.id)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.05)

    def list_processes(self) -> list[int]:
        return list_session(read_process(self.directory), self.id)


@pytest.mark.parametrize(
    ("code", "exit_code"), [("pass", 0), ("raise SystemExit(2)", 2), ("import os; os.abort()", 134)]
)
def test_the_exit_code_of_a_command_is_written(tmp_path: Path, code: str, exit_code: int) -> None:
    attempt = Attempt(tmp_path, code)
    assert not attempt.launcher.read_state(tmp_path, attempt.id).has_started
    attempt.start()
    attempt.wait_for(lambda: attempt.launcher.read_state(tmp_path, attempt.id).exit_code is not None)
    assert LocalProcesses().read_state(tmp_path, attempt.id).exit_code == exit_code


def test_an_attempt_that_is_started_twice_runs_once(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, f"open({str(tmp_path / 'runs')!r}, 'a').write('x')")
    for launcher in (attempt.launcher, attempt.launcher, LocalProcesses(), LocalProcesses()):
        launcher.start(tmp_path, attempt.id)
    attempt.wait_for((tmp_path / "exit_code").exists)
    attempt.start()
    time.sleep(0.5)
    assert (tmp_path / "runs").read_text() == "x"


def test_another_service_finds_a_running_attempt_and_stops_all_of_it(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, CHILD + STUBBORN)
    attempt.start()
    attempt.wait_for(lambda: len(attempt.list_processes()) == 3)
    other = LocalProcesses()
    assert other.read_state(tmp_path, attempt.id) == RUNNING
    assert other.stop(tmp_path, attempt.id)
    assert attempt.list_processes() == []


def test_a_command_whose_wrapper_was_killed_is_ended_before_the_attempt_counts_as_lost(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, CHILD + STUBBORN)
    attempt.start()
    attempt.wait_for(lambda: len(attempt.list_processes()) == 3)
    process = read_process(tmp_path)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    attempt.wait_for(lambda: not is_alive(process))
    assert len(attempt.list_processes()) == 2
    assert attempt.launcher.read_state(tmp_path, attempt.id).is_lost
    assert attempt.list_processes() == []


def test_an_attempt_that_was_forbidden_never_starts(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, f"open({str(tmp_path / 'runs')!r}, 'a').write('x')")
    assert attempt.launcher.stop(tmp_path, attempt.id)
    attempt.start()
    time.sleep(1)
    assert not (tmp_path / "runs").exists()


def test_a_later_process_with_the_same_id_is_another_one(tmp_path: Path) -> None:
    """Neither this process nor its session is ended in the place of one that had its id."""
    me = identify(os.getpid())
    assert me is not None and is_alive(me)
    before = ProcessIdentity(me.pid, "1", me.machine)
    assert not is_alive(before)
    assert list_session(before, make_id("attempt-")) == []
    assert claim_attempt(tmp_path, before)
    assert LocalProcesses().read_state(tmp_path, make_id("attempt-")).is_lost

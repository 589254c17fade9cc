"""A command runs in as many attempts as it takes, and is given up when more would not help."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentiment_ray.openai_api import attempts as module
from sentiment_ray.openai_api.attempt_process import LOG_NAME
from sentiment_ray.openai_api.attempts import Attempts, Outcome
from sentiment_ray.openai_api.database import Database, open_database
from sentiment_ray.openai_api.launcher import LOST, AttemptState


class Script:
    """A launcher whose attempts end at once, in the ways of a list."""

    def __init__(self, *states: AttemptState) -> None:
        self.environment: dict[str, str] = {}
        self.train_keys: dict[str, object] = {}
        self.states, self.started = list(states), list[str]()

    def start(self, directory: Path, attempt_id: str) -> None:
        assert (directory / "command.json").exists()
        self.started.append(attempt_id)

    def read_state(self, directory: Path, attempt_id: str) -> AttemptState:
        if attempt_id not in self.started:
            return AttemptState(has_started=False)
        return self.states[len(self.started) - 1]

    def stop(self, directory: Path, attempt_id: str) -> bool:
        return True

    def count_slots(self) -> int:
        return 1


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path, None)
    yield database
    database.close()


def _run(database: Database, directory: Path, launcher: Script) -> Outcome:
    """Run a command until it has an outcome; each call is one look of another service."""
    for _ in range(1000):
        outcome = Attempts(database, launcher).run("job", directory, ["-c", "pass"])
        if outcome.status != "running":
            return outcome
    raise AssertionError("it runs for ever")


def _exit(code: int) -> AttemptState:
    return AttemptState(exit_code=code)


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_AFTER_FAILURE_S", 0)


def test_lost_and_killed_attempts_are_followed_by_others(database: Database, tmp_path: Path) -> None:
    launcher = Script(LOST, _exit(137), LOST, _exit(143), _exit(0))
    assert _run(database, tmp_path, launcher) == Outcome("succeeded")
    assert len(set(launcher.started)) == 5
    assert _run(database, tmp_path, launcher) == Outcome("succeeded")
    assert len(launcher.started) == 5


def test_a_command_that_fails_by_itself_is_given_up_after_three_attempts(database: Database, tmp_path: Path) -> None:
    launcher = Script(_exit(1), LOST, _exit(1), _exit(1))
    assert _run(database, tmp_path, launcher) == Outcome("failed")
    assert len(launcher.started) == 4


def test_a_command_that_is_always_killed_is_given_up(database: Database, tmp_path: Path) -> None:
    launcher = Script(*[LOST] * 60)
    assert _run(database, tmp_path, launcher) == Outcome("failed")
    assert len(launcher.started) == module.MAX_LOST


def test_a_refusal_has_the_message_of_the_command_without_paths(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "attempts/1"
    folder.mkdir(parents=True)
    (folder / LOG_NAME).write_text("warning: few\nerror: /state/jobs/1/run/config.json is damaged.\nmore\n")
    assert _run(database, tmp_path, Script(_exit(2))) == Outcome("refused", "config.json is damaged.")


def test_a_result_that_misses_a_limit_is_not_made_again(database: Database, tmp_path: Path) -> None:
    launcher = Script(_exit(3), _exit(0))
    assert _run(database, tmp_path, launcher) == Outcome("failed")
    assert len(launcher.started) == 1


def test_a_failed_attempt_is_not_repeated_at_once(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_AFTER_FAILURE_S", 2)
    launcher = Script(_exit(1), _exit(0))
    started = time.monotonic()
    while Attempts(database, launcher).run("job", tmp_path, ["-c", "pass"]).status == "running":
        time.sleep(0.05)
    assert time.monotonic() - started >= 1

"""Metrics reach metrics.jsonl and the trackers; a tracker that fails costs its own lines alone."""

import json
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sentiment_ray.errors import MissingExtraError
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.trackers import METRICS_NAME, OPENERS, check_trackers, open_trackers

HISTORY = [{"epoch": epoch, "loss": 1 / epoch, "macro_f1": 0.2 * epoch, "f1": [0.1, 0.3]} for epoch in (1, 2, 3)]


def _config(*trackers: str) -> TrainConfig:
    return TrainConfig(prepared="p", model="m", output="o", track=trackers)


class Gone(ConnectionError):
    pass


class FakeMlflow(SimpleNamespace):
    """Stands for MLflow; the call `broken` fails, the first `times` times. `logged` has the steps that arrived."""

    def __init__(self, broken: str = "", times: int = 99) -> None:
        super().__init__(logged=[], ended=[])
        self.broken, self.times = broken, times

    def _call(self, name: str) -> None:
        if name == self.broken and self.times > 0:
            self.times -= 1
            raise Gone("the tracking server is gone")

    @contextmanager
    def start_run(self, **keys: Any) -> Any:
        self._call("start_run")
        try:
            yield SimpleNamespace(info=SimpleNamespace(run_id="1"))
        except ValueError:
            self.ended.append("failed")
            raise
        else:
            self.ended.append("finished")
            self._call("end_run")

    def log_params(self, keys: dict[str, Any]) -> None:
        self._call("log_params")

    def log_metrics(self, numbers: dict[str, float], *, step: int, run_id: str) -> None:
        self._call("log_metrics")
        self.logged.append(step)


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeMlflow]:
    def install(broken: str = "", times: int = 99) -> FakeMlflow:
        fake = FakeMlflow(broken, times)
        monkeypatch.setitem(sys.modules, "mlflow", fake)
        return fake

    return install


def _track_all(config: TrainConfig, output: Path) -> None:
    with open_trackers(config, output) as track:
        for count in range(1, len(HISTORY) + 1):
            track(HISTORY[:count])


@pytest.mark.parametrize(
    ("broken", "times", "logged", "what"),
    [
        ("start_run", 99, [], "could not be started"),
        ("log_params", 99, [], "could not be started"),
        ("log_metrics", 99, [], "did not take the metrics of an epoch"),
        ("log_metrics", 2, [1, 2, 3], "did not take the metrics of an epoch"),
        ("end_run", 99, [1, 2, 3], "could not be closed"),
    ],
)
def test_a_tracker_that_fails_costs_its_own_lines(
    mlflow: Callable[..., FakeMlflow], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    broken: str, times: int, logged: list[int], what: str,
) -> None:  # fmt: skip
    fake = mlflow(broken, times)
    _track_all(_config("mlflow", "tensorboard"), tmp_path)
    assert fake.logged == logged
    assert [json.loads(line) for line in (tmp_path / METRICS_NAME).read_text().splitlines()] == HISTORY
    (events,) = (tmp_path / "tensorboard").glob("events.*")
    assert events.read_bytes().count(b"macro_f1") == len(HISTORY)
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: the tracker mlflow {what} (the tracking server is gone).")


def test_trackers_that_all_fail_in_other_ways_do_not_end_a_training(
    monkeypatch: pytest.MonkeyPatch, mlflow: Callable[..., FakeMlflow], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    mlflow("end_run")
    (tmp_path / "tensorboard").write_text("a file where TensorBoard wants a directory")
    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace())  # as if of another version
    _track_all(_config("tensorboard", "mlflow", "trackio"), tmp_path)
    warnings = capsys.readouterr().err.splitlines()
    assert [line.split()[3] for line in warnings] == ["tensorboard", "trackio", "mlflow"]
    assert len((tmp_path / METRICS_NAME).read_text().splitlines()) == len(HISTORY)


def test_the_error_of_a_training_passes_through_its_trackers(mlflow: Callable[..., FakeMlflow], tmp_path: Path) -> None:
    fake = mlflow("end_run")
    with pytest.raises(ValueError, match="of the training"), open_trackers(_config("mlflow"), tmp_path):
        raise ValueError("of the training")
    assert fake.ended == ["failed"]


def test_every_tracker_of_the_configuration_can_be_opened(mlflow: Callable[..., FakeMlflow], tmp_path: Path) -> None:
    fake = mlflow()
    _track_all(_config("mlflow"), tmp_path)
    assert (fake.logged, fake.ended) == ([1, 2, 3], ["finished"])
    assert set(OPENERS) == {"tensorboard", "mlflow", "trackio"}


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match=r"mlflow is not installed.*pip install 'sentiment-ray\[mlflow\]'"):
        check_trackers(_config("mlflow"))

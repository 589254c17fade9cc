"""Writes the metrics of finished epochs to metrics.jsonl and to the trackers of the key `track`.

A tracker that fails, whenever it does, costs its own lines: a warning names it, and the training goes on.

To add a tracker, write a function such as `_open_tensorboard`, enter it in OPENERS, and enter its name and module in
TRACKERS of config.py. An extra of the same name in pyproject.toml installs the module.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sentiment_ray.errors import require_extra
from sentiment_ray.manifest import format_json
from sentiment_ray.train.config import TRACKERS, TrainConfig
from sentiment_ray.train.progress import show_line

METRICS_NAME = "metrics.jsonl"
Metrics = dict[str, Any]
"""The metrics of one epoch, a line of metrics.jsonl."""
Track = Callable[[list[Metrics]], None]
Log = Callable[[dict[str, float], int], None]
"""Logs the numbers of an epoch, the first epoch being 1."""


def check_trackers(config: TrainConfig) -> None:
    """MissingExtraError, with the pip command, for a tracker that is not installed."""
    for name in config.track:
        require_extra(name, TRACKERS[name])


@contextmanager
def open_trackers(config: TrainConfig, output: Path) -> Iterator[Track]:
    """Yield a function that takes the whole history whenever an epoch was added; it logs each epoch once.

    No error of a tracker leaves the block.
    """
    trackers = [_Tracker(name, config, output) for name in config.track]

    def track(history: list[Metrics]) -> None:
        for tracker in trackers:
            tracker.track(history)
        write_metrics(output, history)

    try:
        yield track
    finally:
        for tracker in trackers:
            tracker.close()


class _Tracker:
    """A run in one tracker. After a failure it is tried again at the next epoch, with the epochs that it missed."""

    def __init__(self, name: str, config: TrainConfig, output: Path) -> None:
        self._name, self._stack, self._num_logged = name, ExitStack(), 0
        self._log: Log | None = None
        self._has_failed = False
        try:
            self._log = OPENERS[name](config, output, self._stack)
        except Exception as error:
            self._warn("could not be started", error)

    def track(self, history: list[Metrics]) -> None:
        """Log the epochs of the history that were not logged yet."""
        if self._log is None:
            return
        try:
            for metrics in history[self._num_logged :]:
                numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
                self._log(numbers, metrics["epoch"])
                self._num_logged += 1
        except Exception as error:
            self._warn("did not take the metrics of an epoch", error)

    def close(self) -> None:
        """End the run in the tracker; as failed while an exception passes."""
        try:
            self._stack.__exit__(*sys.exc_info())
        except Exception as error:
            self._warn("could not be closed", error)

    def _warn(self, what: str, error: Exception) -> None:
        """Name the first failure of this tracker."""
        if not self._has_failed:
            self._has_failed = True
            show_line(
                f"the tracker {self._name} {what} ({error or type(error).__name__}). The training goes on; "
                f"{METRICS_NAME} has all metrics.",
                logging.WARNING,
            )


def write_metrics(output: Path, history: list[Metrics]) -> None:
    """Write metrics.jsonl, one line for each epoch."""
    lines = "".join(format_json(metrics) + "\n" for metrics in history)
    (output / METRICS_NAME).write_text(lines, encoding="utf-8")


def _open_tensorboard(config: TrainConfig, output: Path, stack: ExitStack) -> Log:
    from tensorboardX import SummaryWriter

    writer = stack.enter_context(SummaryWriter(str(output / "tensorboard")))

    def log(numbers: dict[str, float], epoch: int) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, epoch)
        writer.flush()

    return log


def _open_mlflow(config: TrainConfig, output: Path, stack: ExitStack) -> Log:
    import mlflow

    run = stack.enter_context(mlflow.start_run(run_name=Path(config.output).name))
    mlflow.log_params(config.model_dump(mode="json"))
    # With the run's id, because MLflow's active run belongs to this thread and `log` is called from another.
    return lambda numbers, epoch: mlflow.log_metrics(numbers, step=epoch, run_id=run.info.run_id)


def _open_trackio(config: TrainConfig, output: Path, stack: ExitStack) -> Log:
    import trackio

    run = trackio.init(project="sentiment-ray", name=Path(config.output).name, config=config.model_dump(mode="json"))
    stack.callback(trackio.finish)
    return lambda numbers, epoch: run.log(numbers, step=epoch)  # trackio.log would use the run of the calling thread


OPENERS: dict[str, Callable[[TrainConfig, Path, ExitStack], Log]] = {
    "tensorboard": _open_tensorboard,
    "mlflow": _open_mlflow,
    "trackio": _open_trackio,
}
"""For each tracker, the function that opens a run in it, closes it at the end of the stack, and returns its log."""

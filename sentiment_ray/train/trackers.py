"""Where the metrics of finished epochs go beside the screen: metrics.jsonl always, trackers when asked for."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sentiment_ray.errors import require_extra
from sentiment_ray.train.config import TrainConfig

METRICS_NAME = "metrics.jsonl"
MODULES = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "trackio": "trackio"}
"""What each tracker, and the extra of its name, is imported as."""
Line = dict[str, Any]
Track = Callable[[list[Line]], None]


def check_trackers(config: TrainConfig) -> None:
    """MissingExtraError, naming the pip command, for a tracker that is not installed."""
    for name in config.track:
        require_extra(name, MODULES[name])


@contextmanager
def open_trackers(config: TrainConfig, output: Path) -> Iterator[Track]:
    """Yield what takes the history, a line an epoch, whenever it has grown."""
    openers = {"tensorboard": _tensorboard, "mlflow": _mlflow, "trackio": _trackio}
    with ExitStack() as stack:
        logs = [openers[name](config, output, stack) for name in config.track]
        logged = 0

        def track(history: list[Line]) -> None:
            nonlocal logged
            write_metrics(output, history)
            for line in history[logged:]:
                numbers = {name: value for name, value in line.items() if isinstance(value, int | float)}
                for log in logs:
                    log(numbers, line["epoch"])
            logged = len(history)

        yield track


def write_metrics(output: Path, history: list[Line]) -> None:
    """Write metrics.jsonl, a line an epoch."""
    lines = "".join(json.dumps(line) + "\n" for line in history)
    (output / METRICS_NAME).write_text(lines, encoding="utf-8")


def _tensorboard(config: TrainConfig, output: Path, stack: ExitStack) -> Callable[[dict[str, float], int], None]:
    from tensorboardX import SummaryWriter

    writer = stack.enter_context(SummaryWriter(str(output / "tensorboard")))

    def log(numbers: dict[str, float], epoch: int) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, epoch)
        writer.flush()

    return log


def _mlflow(config: TrainConfig, output: Path, stack: ExitStack) -> Callable[[dict[str, float], int], None]:
    import mlflow

    run = stack.enter_context(mlflow.start_run(run_name=output.name))
    mlflow.log_params(config.model_dump(mode="json"))
    # By its id: the active run is that of this thread, and progress is shown in another.
    return lambda numbers, epoch: mlflow.log_metrics(numbers, step=epoch, run_id=run.info.run_id)


def _trackio(config: TrainConfig, output: Path, stack: ExitStack) -> Callable[[dict[str, float], int], None]:
    import trackio

    run = trackio.init(project="sentiment-ray", name=output.name, config=config.model_dump(mode="json"))
    stack.callback(trackio.finish)
    return lambda numbers, epoch: run.log(numbers, step=epoch)  # trackio.log knows the run of this thread alone

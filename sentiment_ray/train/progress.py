"""Shows the progress of a training on the driver's screen; knows nothing of the training itself."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

from sentiment_ray import log
from sentiment_ray.errors import SentimentRayError

READ_BOARD_EVERY_S = 1.0
CHECK_CLUSTER_EVERY_S = 15.0
BAR_FORMAT = "{desc}: {percentage:3.0f} % |{bar:30}| {elapsed} < {remaining}{postfix}"


@dataclass(frozen=True)
class BoardState:
    """What a ProgressBoard holds: finished epochs with a fraction, mean loss of the epoch, metrics of each epoch."""

    epochs_done: float = 0.0
    loss: float = float("nan")
    history: list[dict[str, Any]] = field(default_factory=list)


@ray.remote(num_cpus=0)
class ProgressBoard:
    """An actor that the workers write their progress and their errors to, and the driver reads."""

    def __init__(self) -> None:
        self._state = BoardState()
        self._error: SentimentRayError | None = None

    def set_error(self, error: SentimentRayError) -> None:
        """Store an error that would come again if the workers started again."""
        self._error = self._error or error

    def read_error(self) -> SentimentRayError | None:
        """Return the first such error, or None."""
        return self._error

    def advance(self, epochs_done: float, loss: float) -> None:
        """Store the number of epochs done, with a fraction, and the mean loss of the current epoch."""
        self._state = BoardState(epochs_done, loss, self._state.history)

    def finish_epoch(self, history: list[dict[str, Any]]) -> None:
        """Store the metrics of all finished epochs."""
        self._state = BoardState(self._state.epochs_done, self._state.loss, history)

    def read(self) -> BoardState:
        """Return what was stored last."""
        return self._state


def read_input_error(board: Any) -> SentimentRayError | None:
    """Return the error on a ProgressBoard, or None; None as well when the board was lost with its node."""
    try:
        return ray.get(board.read_error.remote())
    except ray.exceptions.RayError:
        return None


@contextmanager
def show_progress(
    epochs: int,
    track: Callable[[list[dict[str, Any]]], None],
    describe_wait: Callable[[], str | None] = lambda: None,
) -> Iterator[Any]:
    """Yield a ProgressBoard and show it on stderr until the block ends: a bar on a terminal, a line for each epoch.

    `track` gets the whole history whenever an epoch was added to it. `describe_wait` returns a message while the
    training waits for nodes, else None; it is asked regularly, because Ray Train waits without a limit or a word.
    """
    this_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    board = ProgressBoard.options(scheduling_strategy=this_node).remote()  # type: ignore[attr-defined]
    ended = threading.Event()
    thread = threading.Thread(target=_show_until, args=(ended, board, epochs, track, describe_wait), daemon=True)
    thread.start()
    try:
        yield board
    finally:
        ended.set()
        thread.join()
        ray.kill(board)


def _show_until(
    ended: threading.Event,
    board: Any,
    epochs: int,
    track: Callable[[list[dict[str, Any]]], None],
    describe_wait: Callable[[], str | None],
) -> None:
    """Show the board until the event is set, and once after it."""
    num_shown, message, checked = 0, None, time.monotonic()
    with tqdm(total=float(epochs), desc="training", bar_format=BAR_FORMAT, disable=log.hide_bars(), leave=False) as bar:
        is_last = False
        while not is_last:
            is_last = ended.wait(READ_BOARD_EVERY_S)
            try:
                if time.monotonic() - checked > CHECK_CLUSTER_EVERY_S:
                    checked, previous, message = time.monotonic(), message, describe_wait()
                    if message and message != previous:
                        show_line(message)
                state = ray.get(board.read.remote(), timeout=READ_BOARD_EVERY_S * 10)
            except ray.exceptions.GetTimeoutError:
                continue
            except ray.exceptions.RayError:
                show_line(
                    "the process that holds the progress was lost. The training goes on, but its progress is no longer "
                    "shown or tracked.",
                    logging.WARNING,
                )
                return
            bar.update(state.epochs_done - bar.n)
            bar.set_postfix_str(f"loss {state.loss:.3f}" if state.epochs_done else "starting", refresh=True)
            if len(state.history) > num_shown:
                for metrics in state.history[num_shown:]:
                    show_line(_format_epoch(metrics, epochs))
                num_shown = len(state.history)
                try:
                    track(state.history)
                except Exception as error:  # the training must not end when the disk is full
                    show_line(f"the metrics were not written ({error})", logging.WARNING)


def show_line(message: str, level: int = logging.INFO) -> None:
    """Show a line on stderr, above the bar of a training."""
    with tqdm.external_write_mode(file=sys.stderr):  # the bar is drawn again below the line
        log.notify(message, level=level)


def _format_epoch(metrics: dict[str, Any], epochs: int) -> str:
    """Return the line for a finished epoch."""
    skipped = metrics.get("skipped_steps")  # older checkpoints do not have it
    split = "training" if metrics.get("split") == "train" else "validation"
    return (
        f"epoch {metrics['epoch']}/{epochs}: loss {metrics['loss']:.3f}, "
        f"{split} macro-F1 {metrics['macro_f1']:.3f}, accuracy {metrics['accuracy']:.3f} "
        f"on {metrics['rows']:,} rows; {metrics['tokens_per_s']:,.0f} tokens/s, {metrics['seconds']:.0f} s"
        + (f"; {skipped:,} steps skipped, whose loss or gradient was not finite" if skipped else "")
    )

"""Carries the workers' progress to the driver's screen; knows nothing of the training itself."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

POLL_S = 1.0
ASK_S = 15.0


@ray.remote(num_cpus=0)
class ProgressBoard:
    """Where the first worker writes how far it is and the driver reads it."""

    def __init__(self) -> None:
        self._epochs_done, self._loss = 0.0, float("nan")
        self._history: list[dict[str, Any]] = []

    def advance(self, epochs_done: float, loss: float) -> None:
        """Note the epochs done, as a fraction, and the mean loss of the present one."""
        self._epochs_done, self._loss = epochs_done, loss

    def finish_epoch(self, history: list[dict[str, Any]]) -> None:
        """Note the metrics of the epochs that are finished, a line each."""
        self._history = history

    def read(self) -> tuple[float, float, list[dict[str, Any]]]:
        """Return epochs done, loss, and the metrics of finished epochs."""
        return self._epochs_done, self._loss, self._history


@contextmanager
def show_progress(
    epochs: int, track: Callable[[list[dict[str, Any]]], None], missing: Callable[[], str | None] = lambda: None
) -> Iterator[Any]:
    """Yield a board and show it on stderr until the block ends: a bar on a terminal, and a line for each epoch.

    `track` gets the history whenever an epoch was added to it. `missing` is asked now and then what the training waits
    for, which Ray Train does for ever and without a word.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    board = ProgressBoard.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]
    ended = threading.Event()
    thread = threading.Thread(target=_show, args=(board, epochs, track, missing, ended), daemon=True)
    thread.start()
    try:
        yield board
    finally:
        ended.set()
        thread.join()
        ray.kill(board)


def _show(
    board: Any,
    epochs: int,
    track: Callable[[list[dict[str, Any]]], None],
    missing: Callable[[], str | None],
    ended: threading.Event,
) -> None:
    shown, told, asked = 0, None, time.monotonic()
    form = "{desc}: {percentage:3.0f} % |{bar:30}| {elapsed} < {remaining}{postfix}"
    with tqdm(total=float(epochs), desc="training", bar_format=form, disable=None, leave=False) as bar:
        last = False
        while not last:
            last = ended.wait(POLL_S)
            try:
                if time.monotonic() - asked > ASK_S:
                    asked, before, told = time.monotonic(), told, missing()
                    if told and told != before:
                        tqdm.write(told, file=sys.stderr)
                done, loss, history = ray.get(board.read.remote(), timeout=POLL_S * 10)
            except ray.exceptions.GetTimeoutError:
                continue
            except ray.exceptions.RayError:
                tqdm.write(
                    "progress is lost with its process: it is not shown or tracked any more. The training goes on.",
                    file=sys.stderr,
                )
                return
            bar.update(done - bar.n)
            bar.set_postfix_str(f"loss {loss:.3f}" if done else "starting", refresh=True)
            if len(history) > shown:
                for metrics in history[shown:]:
                    tqdm.write(_epoch_line(metrics, epochs), file=sys.stderr)
                shown = len(history)
                try:
                    track(history)
                except Exception as error:  # a tracker that fails costs its own lines, not the training's
                    tqdm.write(f"warning: metrics were not tracked ({error})", file=sys.stderr)


def _epoch_line(metrics: dict[str, Any], epochs: int) -> str:
    return (
        f"epoch {metrics['epoch']}/{epochs}: loss {metrics['loss']:.3f}, "
        f"validation macro-F1 {metrics['macro_f1']:.3f}, accuracy {metrics['accuracy']:.3f} "
        f"on {metrics['rows']:,} rows; {metrics['tokens_per_s']:,.0f} tokens/s, {metrics['seconds']:.0f} s"
    )

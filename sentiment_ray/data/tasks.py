"""Runs functions as Ray tasks with a bar for their progress; knows nothing of what they do."""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray
from tqdm import tqdm

from sentiment_ray.errors import SentimentRayError

Report = TypeVar("Report")
SECONDS_TO_STOP = 60
SECONDS_BETWEEN_CANCELLATIONS = 0.5


def run_tasks(function: Callable[..., Report], arguments: Sequence[tuple[Any, ...]], *, title: str) -> list[Report]:
    """Call `function` with each of `arguments` in a task of one CPU and return the results as they came.

    When one fails, the others are stopped before its error is raised: none writes on after that.
    """
    task = ray.remote(num_cpus=1)(function)
    pending = [task.remote(*each) for each in arguments]
    results: list[Report] = []
    try:
        with tqdm(total=len(pending), desc=title, unit="task", disable=None) as bar:
            while pending:
                (done, *_), pending = ray.wait(pending)
                results.append(ray.get(done))
                bar.update()
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, SentimentRayError):
            raise error.cause from None
        raise
    finally:
        _stop(pending)
    return results


def _stop(pending: list[Any]) -> None:
    """Cancel tasks and wait until they have ended."""
    deadline = time.monotonic() + SECONDS_TO_STOP
    while pending and time.monotonic() < deadline:
        for reference in pending:
            # Ray loses a cancellation that meets a task at its very start, so each is asked for until it is done.
            ray.cancel(reference)
        _, pending = ray.wait(pending, num_returns=len(pending), timeout=SECONDS_BETWEEN_CANCELLATIONS)

"""Runs a function on many inputs with Ray Data and shows progress; knows nothing about the function."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import ray.data
from tqdm import tqdm

from sentiment_ray import log
from sentiment_ray.data.readers.faults import retry_reading
from sentiment_ray.errors import SentimentRayError
from sentiment_ray.paths import find_disk_failure

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


def run_tasks(function: Callable[..., Result], arguments: Sequence[tuple[Any, ...]], *, title: str) -> list[Result]:
    """Call `function` with each tuple of `arguments`, each in a task with one CPU; return the results as they finish.

    A task that meets a fault of the disk or of memory is called again. When a task fails, Ray Data starts no new tasks
    and stops the running ones, and the error is raised here.
    """

    def call(row: dict[str, int]) -> dict[str, Any]:
        logger.info("task started", extra={"task": f"{title} {row['index']}"})
        # Ray Data passes an exception on as text only, so an error for people is returned as a value.
        try:
            return {"result": retry_reading(partial(function, *arguments[row["index"]]))}
        except SentimentRayError as error:
            return {"result": error}
        except Exception as error:
            failure = find_disk_failure(error)
            if failure is None:
                raise
            return {"result": failure}

    if not arguments:
        return []
    rows = [{"index": index} for index in range(len(arguments))]
    finished = ray.data.from_items(rows, override_num_blocks=len(rows)).map(call, num_cpus=1).iter_rows()
    results: list[Result] = []
    with tqdm(total=len(arguments), desc=title, unit="task", disable=log.hide_bars(), leave=False) as bar:
        for row in finished:
            if isinstance(row["result"], SentimentRayError):
                raise row["result"]
            results.append(row["result"])
            bar.update()
            logger.info("task finished", extra={"title": title, "tasks_done": len(results), "tasks": len(arguments)})
    return results

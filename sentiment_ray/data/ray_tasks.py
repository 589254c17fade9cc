"""Maps functions over Ray Data with a bar for their progress; knows nothing of what they do."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray.data
from tqdm import tqdm

from sentiment_ray.errors import SentimentRayError

Report = TypeVar("Report")


def run_tasks(function: Callable[..., Report], arguments: Sequence[tuple[Any, ...]], *, title: str) -> list[Report]:
    """Call `function` with each of `arguments` in a task of one CPU and return the results as they came.

    When one fails, Ray Data starts no more of them and ends those under way, and its error is raised.
    """

    def call(row: dict[str, int]) -> dict[str, Any]:
        # Ray Data hands an exception on as text alone, so one that a person can mend comes back as a value.
        try:
            return {"report": function(*arguments[row["place"]])}
        except SentimentRayError as error:
            return {"report": error}

    if not arguments:
        return []
    rows = [{"place": place} for place in range(len(arguments))]
    reports = ray.data.from_items(rows, override_num_blocks=len(rows)).map(call, num_cpus=1).iter_rows()
    results: list[Report] = []
    with tqdm(total=len(arguments), desc=title, unit="task", disable=None, leave=False) as bar:
        for row in reports:
            if isinstance(row["report"], SentimentRayError):
                raise row["report"]
            results.append(row["report"])
            bar.update()
    return results

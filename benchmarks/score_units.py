"""Measures what a unit costs the driver of score_reviews: no-op units through Ray, one JSON line."""

import os
import tempfile
import threading
import time
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import click
import numpy as np
import psutil
import ray
from harness import machine

from sentiment_ray.config.shell import print_result, run
from sentiment_ray.locked_store import guard
from sentiment_ray.output_lock import hold_lock
from sentiment_ray.score import execution, workers
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.finished_units import find_no_units
from sentiment_ray.score.identity import Identity, make_file_table
from sentiment_ray.score.plan import NewPlan, Plan, Unit, make_unit_tables
from sentiment_ray.score.plan_file import write_plan
from sentiment_ray.storage import open_store


class NoOpScorer:
    """A worker that does nothing with its units."""

    def __init__(self, context: Any) -> None:
        """Load nothing."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the numbers of the units, as Scorer does."""
        return {"unit": batch["unit"], "error": np.array([""] * len(batch["unit"]), dtype=object)}


@click.command(epilog="\b\nExample:\n  python benchmarks/score_units.py --units 100000")
@click.option("--units", default=100_000, show_default=True, help="Units of the plan.")
@click.option("--warm-up-units", default=1_000, show_default=True, help="Units that are run before, unmeasured.")
@click.option("--workers", "num_workers", default=2, show_default=True, help="Workers, one CPU each.")
@click.option("--units-per-task", default=None, type=int, help="Maximum units of a task; the default is the package's.")
def main(units: int, warm_up_units: int, num_workers: int, units_per_task: int | None) -> None:
    """Run no-op units through the pool of workers and print time and memory of the driver for each."""
    ray.init(address="local", num_cpus=num_workers, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    with (
        mock.patch.object(workers, "Scorer", NoOpScorer),
        mock.patch.object(execution, "choose_num_workers", lambda *_: num_workers),
        mock.patch.object(workers, "MAX_UNITS_OF_TASK", units_per_task or workers.MAX_UNITS_OF_TASK),
    ):
        measure(warm_up_units)
        print_result({"date": datetime.now(UTC).isoformat(timespec="seconds")} | machine() | measure(units))
    ray.shutdown()


def measure(num_units: int) -> dict[str, Any]:
    """Return milliseconds and bytes of the driver for each unit; its memory is looked at 10 times a second."""
    with tempfile.TemporaryDirectory() as output:
        config = ScoreConfig(bundle="-", input="-", output=output, progress="none", max_cached_texts=0)
        store = open_store(output)
        files = make_file_table([("/in", "in", 1, "1")])
        every = (Unit("/in", "1", f"in-{n:05d}.parquet", (n,), (100_000,), n, 1, n) for n in range(num_units))
        plan = write_plan(store, NewPlan(Plan("p", Identity({}, {}, files)), tuple(make_unit_tables(every))))
        with hold_lock(store, output) as lock:
            locked, finished = guard(store, output, lock), find_no_units(plan)
            watched = PeakMemory()
            cpu, wall = time.process_time(), time.monotonic()
            execution.score_missing_units(locked, config, mock.Mock(engine="onnxruntime"), plan, finished)
            cpu, wall = time.process_time() - cpu, time.monotonic() - wall
            grown = watched.stop()
    return {
        "units": num_units,
        "units_per_task": workers.MAX_UNITS_OF_TASK,
        "driver_cpu_ms_per_unit": round(1000 * cpu / num_units, 4),
        "wall_ms_per_unit": round(1000 * wall / num_units, 4),
        "driver_bytes_per_unit": round(grown / num_units, 1),
    }


class PeakMemory:
    """Watches how far the resident memory of this process grows."""

    def __init__(self) -> None:
        self._process = psutil.Process(os.getpid())
        self._before = self._peak = self._process.memory_info().rss
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(0.1):
            self._peak = max(self._peak, self._process.memory_info().rss)

    def stop(self) -> int:
        """Return by how many bytes the memory grew at its peak."""
        self._end.set()
        self._thread.join()
        return self._peak - self._before


if __name__ == "__main__":
    run(main)

"""Shows the progress of a scoring run: a bar for people, JSON lines for machines, gauges for Prometheus."""

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.metrics import Gauge
from tqdm import tqdm

from sentiment_ray import log
from sentiment_ray.manifest import format_json

logger = logging.getLogger(__name__)
POLL_S = 1.0
JSON_EVERY_S = 10.0


@ray.remote(num_cpus=0)
class Progress:
    """Counts the finished rows of all units and sets gauges, which Ray exports to Prometheus."""

    def __init__(self, planned: int, scored: int, quarantined: int) -> None:
        self._parts: dict[str, tuple[int, int]] = {}
        self._scored, self._quarantined = scored, quarantined
        self._gauges = {
            name: Gauge(f"sentiment_ray_score_rows_{name}", description=text)
            for name, text in {
                "planned": "Rows of the corpus.",
                "scored": "Rows scored so far.",
                "quarantined": "Rows quarantined so far.",
            }.items()
        }
        self._gauges["planned"].set(planned)

    def report(self, part: str, scored: int, quarantined: int) -> None:
        """Set the rows of a part so far; a unit that is scored again starts over."""
        before = self._parts.get(part, (0, 0))
        self._parts[part] = (scored, quarantined)
        self._scored += scored - before[0]
        self._quarantined += quarantined - before[1]

    def sum_rows(self) -> tuple[int, int]:
        """Return the rows scored and quarantined so far."""
        self._gauges["scored"].set(self._scored)
        self._gauges["quarantined"].set(self._quarantined)
        return self._scored, self._quarantined


@contextmanager
def show_progress(mode: str, planned: int, scored: int, quarantined: int) -> Iterator[Any]:
    """Show progress on stderr until the block ends, and yield the actor that counts; `mode` is auto, json or none."""
    counter = Progress.remote(planned, scored, quarantined)  # type: ignore[attr-defined]
    stop = threading.Event()
    show = {
        "auto": _write_json_lines if log.is_verbose() else _show_bar,
        "json": _write_json_lines,
        "none": _show_nothing,
    }[mode]
    thread = threading.Thread(target=show, args=(counter, planned, scored + quarantined, stop), daemon=True)
    thread.start()
    try:
        yield counter
    finally:
        stop.set()
        thread.join()
        ray.kill(counter)


def _show_bar(counter: Any, planned: int, before: int, stop: threading.Event) -> None:
    bar_format = (
        "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} rows [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
    )
    with tqdm(
        total=planned, initial=before, desc="scoring", unit=" rows", unit_scale=True, disable=log.hide_bars(),
        leave=False, bar_format=bar_format, smoothing=0.05,
    ) as bar:  # fmt: skip
        while not bar.disable and not stop.wait(POLL_S):
            scored, quarantined = ray.get(counter.sum_rows.remote())
            bar.set_postfix_str(f"{quarantined} quarantined", refresh=False)
            bar.update(max(0, scored + quarantined - bar.n))
    stop.wait()


def _write_json_lines(counter: Any, planned: int, before: int, stop: threading.Event) -> None:
    started = time.monotonic()
    while True:
        ended = stop.wait(JSON_EVERY_S)
        scored, quarantined = ray.get(counter.sum_rows.remote())
        rate = (scored + quarantined - before) / (time.monotonic() - started)
        left = planned - scored - quarantined
        line = {
            "rows_planned": planned,
            "rows_done": scored + quarantined,
            "rows_quarantined": quarantined,
            "rows_per_s": round(rate, 1),
            "expected_end": round(time.time() + left / rate) if rate else None,
        }
        if log.is_verbose():
            logger.info("progress", extra=line)
        else:
            sys.stderr.write(format_json(line) + "\n")
        if ended:
            return


def _show_nothing(counter: Any, planned: int, before: int, stop: threading.Event) -> None:
    stop.wait()

"""Tells how far a scoring run is: a bar for people, JSON lines for machines, gauges for Prometheus; scores nothing."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.metrics import Gauge
from tqdm import tqdm

POLL_S = 1.0
JSON_EVERY_S = 10.0


@ray.remote(num_cpus=0)
class Progress:
    """Counts the rows of units that are under way and keeps Ray's gauges, which Ray exports to Prometheus."""

    def __init__(self, planned: int, done: int, quarantined: int) -> None:
        self._parts: dict[str, tuple[int, int]] = {"": (done, quarantined)}
        self._gauges = {
            name: Gauge(f"sentiment_ray_score_rows_{name}", description=text)
            for name, text in {
                "planned": "Rows of the corpus.",
                "scored": "Rows scored so far.",
                "quarantined": "Rows that cannot be scored, so far.",
            }.items()
        }
        self._gauges["planned"].set(planned)

    def report(self, part: str, scored: int, quarantined: int) -> None:
        """Note the rows of a part so far; a unit that is done again replaces what it had."""
        self._parts[part] = (scored, quarantined)

    def totals(self) -> tuple[int, int]:
        """Return the rows scored and set aside so far."""
        scored, quarantined = (sum(counts) for counts in zip(*self._parts.values(), strict=True))
        self._gauges["scored"].set(scored)
        self._gauges["quarantined"].set(quarantined)
        return scored, quarantined


@contextmanager
def shown_progress(mode: str, planned: int, done: int, quarantined: int) -> Iterator[Any]:
    """Yield the actor that counts and show its counts on stderr until the block ends: `mode` is auto, json or none."""
    counter = Progress.remote(planned, done, quarantined)  # type: ignore[attr-defined]
    stop = threading.Event()
    show = {"auto": _bar, "json": _json_lines, "none": _nothing}[mode]
    thread = threading.Thread(target=show, args=(counter, planned, done + quarantined, stop), daemon=True)
    thread.start()
    try:
        yield counter
    finally:
        stop.set()
        thread.join()
        ray.kill(counter)


def _bar(counter: Any, planned: int, before: int, stop: threading.Event) -> None:
    form = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} rows [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
    with tqdm(
        total=planned, initial=before, desc="scoring", unit=" rows", unit_scale=True, disable=None, leave=False,
        bar_format=form, smoothing=0.05,
    ) as bar:  # fmt: skip
        while not bar.disable and not stop.wait(POLL_S):
            scored, quarantined = ray.get(counter.totals.remote())
            bar.set_postfix_str(f"{quarantined} quarantined", refresh=False)
            bar.update(max(0, scored + quarantined - bar.n))
    stop.wait()


def _json_lines(counter: Any, planned: int, before: int, stop: threading.Event) -> None:
    started = time.monotonic()
    while True:
        ended = stop.wait(JSON_EVERY_S)
        scored, quarantined = ray.get(counter.totals.remote())
        rate = (scored + quarantined - before) / (time.monotonic() - started)
        left = planned - scored - quarantined
        line = {
            "rows_planned": planned,
            "rows_done": scored + quarantined,
            "rows_quarantined": quarantined,
            "rows_per_s": round(rate, 1),
            "expected_end": round(time.time() + left / rate) if rate else None,
        }
        sys.stderr.write(json.dumps(line) + "\n")
        if ended:
            return


def _nothing(counter: Any, planned: int, before: int, stop: threading.Event) -> None:
    stop.wait()

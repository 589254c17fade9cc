"""Brings what Ray's workers log to the driver, which writes it with its own lines; knows nothing of what they do."""

import atexit
import json
import logging
import sys
import threading
from queue import Empty
from typing import Any

import ray
from ray.util.queue import Queue

from sentiment_ray import log
from sentiment_ray.manifest import format_json

QUEUE_NAME = "sentiment_ray_log"
LAST_LINES_S = 0.5
"""How long the driver waits at its end for lines that are still on their way."""


def send_to_driver() -> None:
    """Send what this worker logs to the driver's queue; Ray runs this once in every process of a verbose run."""
    log.use_handler(_DriverHandler())


class _DriverHandler(logging.Handler):
    """Puts records into the driver's queue without waiting; drops them when the driver is gone."""

    _queue: Any = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._queue = self._queue or ray.get_actor(QUEUE_NAME)
            self._queue.put_nowait.remote(format_json(log.collect_fields(record), default=str))
        except ValueError:  # there is no such actor
            self.handleError(record)


def write_worker_lines() -> None:
    """Make the queue of this driver's cluster, and write what arrives there until the process ends."""
    queue = Queue(actor_options={"name": QUEUE_NAME, "num_cpus": 0})
    ended = threading.Event()

    def write() -> None:
        while True:
            try:
                line = queue.get(timeout=LAST_LINES_S)
            except Empty:
                if ended.is_set():
                    return
                continue
            except ray.exceptions.RayError:
                return
            sys.stderr.write(log.format_line(json.loads(line)) + "\n")

    thread = threading.Thread(target=write, daemon=True)
    thread.start()

    def drain() -> None:
        ended.set()
        thread.join(timeout=10 * LAST_LINES_S)

    atexit.register(drain)

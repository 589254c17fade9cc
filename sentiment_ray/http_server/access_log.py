"""The access log: one JSON line on stderr for each request, written by a thread so that no request waits for it."""

import contextlib
import logging
import sys
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue

from sentiment_ray.log import JsonFormatter

MAX_WAITING_LINES = 10_000
"""Lines that wait while stderr is blocked; further ones are dropped."""

logger = logging.getLogger(__name__)


class _DroppingHandler(QueueHandler):
    """Puts records into a bounded queue, and drops them when it is full."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return the record as it is: it is formatted in this process."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Put a record into the queue."""
        with contextlib.suppress(Full):
            self.queue.put_nowait(record)


def start_access_log() -> QueueListener:
    """From now on, write the lines of `log_request`; the caller stops what is returned."""
    waiting: Queue[logging.LogRecord] = Queue(MAX_WAITING_LINES)
    writer = logging.StreamHandler(sys.stderr)
    writer.setFormatter(JsonFormatter())
    logger.handlers = [_DroppingHandler(waiting)]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    listener = QueueListener(waiting, writer)
    listener.start()
    return listener


def log_request(*, request_id: str, method: str, route: str, status: int, duration_ms: float, client: str) -> None:
    """Log a request. The route is one of the service's own, so no part of a text that is sent as a path is written."""
    fields = {
        "request_id": request_id,
        "method": method,
        "route": route,
        "status": status,
        "duration_ms": round(duration_ms, 3),
        "client": client,
    }
    logger.info("request", extra=fields)

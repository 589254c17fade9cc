"""The log of a run: JSON lines on stderr with --verbose, otherwise only lines for people; knows no stage and no Ray.

Modules log with `logging.getLogger(__name__)` and pass fields as `extra`, such as the unit that they work on. Texts of
reviews and keys are never logged.
"""

import json
import logging
import os
import secrets
import socket
import sys
from datetime import UTC, datetime
from typing import Any

PACKAGES = ("sentiment_ray", "export", "jobs")
PREFIXES = {logging.WARNING: "warning: ", logging.ERROR: "error: "}
STANDARD_FIELDS = vars(logging.makeLogRecord({})).keys() | {"message", "asctime"}

_run: dict[str, str] = {}
"""The run's id and the stage, which every line carries; empty unless the run is verbose."""
_people = logging.getLogger(__name__)


def start_log(stage: str) -> None:
    """Write what this process logs from now on as JSON lines on stderr, with a new run id."""
    _run.update(run=secrets.token_hex(8), stage=stage)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    send_to(handler)


def set_stage(stage: str) -> None:
    """Name the stage that the next lines are about."""
    if _run:
        _run["stage"] = stage


def is_verbose() -> bool:
    """Whether this run writes a log."""
    return bool(_run)


def hide_bars() -> bool | None:
    """Return the `disable` of tqdm: no bar in a verbose run, nor where stderr is no terminal."""
    return True if _run else None


def send_to(handler: logging.Handler) -> None:
    """Let one handler, and no other, take what this project's modules log."""
    for name in PACKAGES:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.handlers = [handler]


def notify(message: str, *, level: int = logging.INFO) -> None:
    """Tell the person at the terminal something: a line on stderr, or a line of the log when there is one."""
    if _run:
        _people.log(level, message)
    else:
        sys.stderr.write(f"{PREFIXES.get(level, '')}{message}\n")


def fields_of_record(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a line of the log says of a record, but for the run and the stage."""
    fields = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "message": record.getMessage(),
        "module": record.name,
        "process": f"{socket.gethostname()}:{os.getpid()}",
    }
    fields |= {name: value for name, value in vars(record).items() if name not in STANDARD_FIELDS}
    if record.exc_info:
        fields["exception"] = logging.Formatter().formatException(record.exc_info)
    return fields


def write_fields(fields: dict[str, Any]) -> str:
    """Return one JSON line, with the run and the stage of this process."""
    return json.dumps(_run | fields, ensure_ascii=False, default=str)


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        return write_fields(fields_of_record(record))

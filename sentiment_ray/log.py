"""The log of a run: JSON lines on stderr with --verbose, otherwise only messages; knows no stage and no Ray.

Modules log with `logging.getLogger(__name__)` and pass fields as `extra`, such as the unit that they work on. Texts of
reviews and keys are never logged.
"""

import logging
import os
import secrets
import socket
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

from sentiment_ray.manifest import format_json

PACKAGES = ("sentiment_ray", "export", "jobs")
PREFIXES = {logging.WARNING: "warning: ", logging.ERROR: "error: "}
STANDARD_FIELDS = vars(logging.makeLogRecord({})).keys() | {"message", "asctime"}

_run: dict[str, str] = {}
"""The run's id and the stage, which every line carries; empty unless the run is verbose."""
_notices = logging.getLogger(__name__)


def start_log(stage: str) -> None:
    """From now on, write what this process logs as JSON lines on stderr, with a new run id."""
    _run.update(run=secrets.token_hex(8), stage=stage)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    use_handler(handler)


def set_stage(stage: str) -> None:
    """Name the stage that the next lines are about."""
    if _run:
        _run["stage"] = stage


def is_verbose() -> bool:
    """Whether this run writes a log."""
    return bool(_run)


def hide_bars() -> bool | None:
    """Return the value for `disable` of tqdm: True in a verbose run, else None: no bar if stderr is no terminal."""
    return True if _run else None


def use_handler(handler: logging.Handler) -> None:
    """Send everything that this project's modules log to one handler."""
    for name in PACKAGES:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.handlers = [handler]


def notify(message: str, *, level: int = logging.INFO) -> None:
    """Show a message to the user: as a line on stderr or, in a verbose run, as a line of the log."""
    if _run:
        _notices.log(level, message)
    else:
        sys.stderr.write(f"{PREFIXES.get(level, '')}{message}\n")


def log_bug(error: BaseException, where: str) -> None:
    """Log where an unexpected error was raised, without its message, in which a text may stand."""
    lines = "".join(traceback.format_tb(error.__traceback__))
    _notices.error("%s failed with %s:\n%s", where, type(error).__name__, lines)


def collect_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a record's line, without the run and the stage."""
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


def format_line(fields: dict[str, Any]) -> str:
    """Return one JSON line, with the run and the stage of this process."""
    return format_json(_run | fields, ensure_ascii=False, default=str)


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        return format_line(collect_fields(record))

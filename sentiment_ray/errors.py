"""The errors that a user can correct, and the check for a missing extra; knows nothing of what raises them.

SentimentRayError            the input is wrong: exit code 2
├── ConfigError              a key, a flag or a path of the configuration is wrong
├── DataError                a file, a column, a row or a label of the data is wrong
│   └── TextTooLongError     a text would be truncated, and the caller does not want that
├── BundleError              a bundle is damaged, unsafe, or has another format
│   └── SelfTestError        a model file gives other results on this processor than when it was exported
├── GateError                a result missed a limit that was set for it: exit code 3
├── StorageError             a disk is full or fails while a stage writes: exit code 1
├── QueueFullError           more texts wait for the model than may wait: exit code 1
├── ClusterError             Ray does not start, or its cluster is lost: exit code 1
└── MissingExtraError        a library of an optional extra is not installed
"""

import importlib.util
from collections.abc import Iterator
from typing import ClassVar


class SentimentRayError(Exception):
    """An error that the user can correct; its text says what is wrong, where, and what to do."""

    exit_code: ClassVar[int] = 2


class ConfigError(SentimentRayError):
    """A key, flag or path of the configuration is wrong."""


class DataError(SentimentRayError):
    """A file, column, row or label of the data is wrong."""


class TextTooLongError(DataError):
    """A text would be truncated, and the caller does not want that; `index` is the first such text."""

    def __init__(self, message: str, *, index: int) -> None:
        super().__init__(message)
        self.index = index


class BundleError(SentimentRayError):
    """A bundle is damaged or unsafe, or this release does not read its format."""


class SelfTestError(BundleError):
    """A model file gives other results on this processor than when it was exported."""


class GateError(SentimentRayError):
    """A result missed a limit that was set for it."""

    exit_code: ClassVar[int] = 3


class StorageError(SentimentRayError):
    """A disk is full, read-only or broken. The same command can be run again when that is mended."""

    exit_code: ClassVar[int] = 1


class QueueFullError(SentimentRayError):
    """More texts wait for the model than may wait. The same call can be made again a little later."""

    exit_code: ClassVar[int] = 1


class ClusterError(SentimentRayError):
    """Ray does not start on this machine, or the cluster was lost. The same command can be run again."""

    exit_code: ClassVar[int] = 1


class MissingExtraError(SentimentRayError, ImportError):
    """A library of an optional extra is not installed."""


def require_extra(extra: str, *modules: str) -> None:
    """Raise MissingExtraError, with the pip command to run, unless all of `modules` are installed.

    The modules are looked up, not imported, so the check takes no time.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingExtraError(
            f"{', '.join(missing)} is not installed; this part of sentiment-ray needs it. "
            f"Run: pip install 'sentiment-ray[{extra}]'"
        )


def iterate_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what has caused it, each once: a fault that is raised again may be its own cause."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        # Ray keeps the exception of a task in `cause`.
        cause = getattr(cause, "cause", None) or cause.__cause__ or cause.__context__


def first_line(error: Exception) -> str:
    """Return the first line of the message of an error, or the name of its class."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")

"""The errors a person can mend, and how a missing extra is named; knows nothing of what raises them.

SentimentRayError            the input is wrong: exit code 2
├── ConfigError              a key, a flag or a path in the configuration
├── DataError                a file, a column, a row or a label in the data
├── BundleError              a bundle that is damaged, foreign or of another format
│   └── SelfTestError        a file of it answers otherwise on this processor than where it was exported
├── GateError                a bundle or a run missed a bound that was set for it: exit code 3
└── MissingExtraError        a library of an optional extra is not installed
"""

import importlib.util
from typing import ClassVar


class SentimentRayError(Exception):
    """Something the user can mend; its text says what is wrong, where, and what to do."""

    exit_code: ClassVar[int] = 2


class ConfigError(SentimentRayError):
    """A key, flag or path of the configuration is wrong."""


class DataError(SentimentRayError):
    """A file, column, row or label of the data is wrong."""


class BundleError(SentimentRayError):
    """A bundle is damaged, foreign, or written in a format that this release does not read."""


class SelfTestError(BundleError):
    """A file of a bundle answers otherwise on this processor than where it was exported."""


class GateError(SentimentRayError):
    """A bound that was set for a result was missed."""

    exit_code: ClassVar[int] = 3


class MissingExtraError(SentimentRayError, ImportError):
    """A library of an optional extra is not installed."""


def require_extra(extra: str, *modules: str) -> None:
    """Refuse to go on, naming the pip command, unless every one of `modules` can be imported.

    Looks for the modules without importing them, so that asking costs no time.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingExtraError(
            f"{', '.join(missing)} is not installed; this part of sentiment-ray needs it. "
            f"Run: pip install 'sentiment-ray[{extra}]'"
        )

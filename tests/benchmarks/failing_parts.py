"""Parts that add one result and do not come to their end; each runs in a process of its own."""

import os
import time

from benchmarks.gpu.results import Results
from benchmarks.gpu.setting import Setting


def sleep(setting: Setting, results: Results) -> None:
    """Take longer than any limit."""
    results.add("first", figure=1)
    time.sleep(600)


def fail(setting: Setting, results: Results) -> None:
    """Raise an error."""
    results.add("first", figure=1)
    raise ValueError("a | b\nof two lines")


def die(setting: Setting, results: Results) -> None:
    """End as a process does that was killed for its memory."""
    results.add("first", figure=1)
    os._exit(9)

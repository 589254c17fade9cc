"""Connects the driver to a Ray cluster, quietly; knows nothing of what is run on it."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from sentiment_ray.errors import require_extra

require_extra("data", "ray")


def connect() -> None:
    """Connect to the cluster that RAY_ADDRESS names, or start one on this machine; does nothing when connected.

    A cluster that is started here asks for a token (Ray's default), listens on loopback, and ends with the process.
    Progress and errors are ours to print: Ray's own log lines go to its files under the session directory.
    """
    import ray
    import ray.data

    for name in ("ray", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not ray.is_initialized():
        local = "RAY_ADDRESS" not in os.environ
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Its core warns on stderr, as an error, of every actor pool whose actors may be restarted.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        # At Ray's 15 a worker yields to all else on the machine, and one thread that waits holds up the others: 10 %.
        os.environ.setdefault("RAY_worker_niceness", "0")
        with _held_back_stderr():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False if local else None)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False


@contextmanager
def _held_back_stderr() -> Iterator[None]:
    """Keep what native code writes to stderr, where it says which log level it was given, unless the block fails."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)

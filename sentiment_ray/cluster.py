"""Connects the driver to a Ray cluster without Ray's own log lines; knows nothing of what runs there."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from sentiment_ray import log
from sentiment_ray.errors import require_extra

require_extra("data", "ray")

WORKER_HOOK = "sentiment_ray.cluster_log.send_to_driver"


def connect() -> None:
    """Connect to the cluster that RAY_ADDRESS names, or start one on this machine; do nothing when connected.

    A cluster that is started here requires a token (Ray's default), listens on loopback, and ends with the process. The
    screen is for this package's progress and errors, so Ray's log lines only go to files in its session directory.
    With --verbose, what this package logs in Ray's workers reaches the driver.
    """
    import ray
    import ray.data

    for name in ("ray", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not ray.is_initialized():
        local = "RAY_ADDRESS" not in os.environ
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray's core reports every actor pool whose actors may restart as an error on stderr.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        # With Ray's niceness of 15 a worker yields to all other processes, and one waiting thread delays the others.
        # That takes 10 % of a training step.
        os.environ.setdefault("RAY_worker_niceness", "0")
        with _hide_stderr():
            ray.init(
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False if local else None,
                runtime_env={"worker_process_setup_hook": WORKER_HOOK} if log.is_verbose() else None,
            )
        if log.is_verbose():
            from sentiment_ray.cluster_log import write_worker_lines

            write_worker_lines()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False


@contextmanager
def _hide_stderr() -> Iterator[None]:
    """Hide what native code writes to stderr, a line about the log level, and show it when the block fails."""
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

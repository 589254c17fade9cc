"""Connects the driver to a Ray cluster, quietly; knows nothing of what is run on it."""

import logging
import os

from sentiment_ray.errors import require_extra

require_extra("data", "ray")


def connect() -> None:
    """Connect to the cluster that RAY_ADDRESS names, or start one on this machine; does nothing when connected.

    A cluster that is started here asks for a token, listens on loopback, and ends with the process. Progress and errors
    are ours to print: Ray's own log lines go to its files under the session directory.
    """
    local = "RAY_ADDRESS" not in os.environ
    if local:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    import ray.data

    if not ray.is_initialized():
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        ray.init(**quiet, include_dashboard=False) if local else ray.init(**quiet)
    for name in ("ray", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False

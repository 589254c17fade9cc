"""Connects the driver to a Ray cluster, quietly; knows nothing of what is run on it."""

import logging
import os

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
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False if local else None)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False

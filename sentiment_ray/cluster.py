"""Connects the driver to a Ray cluster, quietly; knows nothing of what is run on it."""

import logging
import os

from sentiment_ray.errors import require_extra

require_extra("data", "ray")

QUIET_ENVIRONMENT = {
    # Ray's reader would open 128 IO and 32 CPU threads a process.
    "RAY_DATA_PARQUET_READER_IO_THREAD_COUNT": "4",
    "RAY_DATA_PARQUET_READER_CPU_COUNT": "1",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "true",
}


def connect() -> None:
    """Connect to the cluster that RAY_ADDRESS names, or start one on this machine; does nothing when connected.

    Progress and errors are ours to print: Ray's own log lines go to its files under the session directory.
    """
    for name, value in QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if not ray.is_initialized():
        ray.init(
            include_dashboard=False if "RAY_ADDRESS" not in os.environ else None,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    hush()


def hush() -> None:
    """Keep Ray Data's plans, bars and notices off the screen; errors still show."""
    import ray.data

    for name in ("ray", "ray.data", "ray.train", "ray._private", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False

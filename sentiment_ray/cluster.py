"""Connects the driver to a Ray cluster without Ray's own log lines. Knows nothing of what runs there."""

import atexit
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from sentiment_ray import log
from sentiment_ray.errors import ClusterError, ConfigError, SentimentRayError, require_extra
from sentiment_ray.ray_directory import choose_temporary_directory
from sentiment_ray.thread_waiting import let_waiting_threads_sleep, list_worker_variables

require_extra("data", "ray")

LOST_S = 10.0
START_ATTEMPTS = 3
END_S = 2.0
"""Seconds in which the processes of a cluster may end by themselves after it was shut down."""
START_TIMEOUT = "timed out during startup"
"""What Ray says when its processes have not started within 30 s, which happens on a busy machine."""
OWN_CLUSTER = {
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
"""Variables of a cluster that a job starts for itself; what is set already stays.

Ray would collect metrics, states of tasks, and every 5 s the use of memory by each process, for a dashboard that such a
cluster does not have. An actor would wait for a notice that the machine is about to be taken away. All of it takes
processor time from the work.
"""
WORKER_HOOK = "sentiment_ray.cluster_log.send_to_driver"


def connect() -> None:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine; do nothing when connected.

    A cluster that is started here requires a token (Ray's default), listens on loopback, and ends with the process. The
    screen is for this package's progress and errors, so Ray's log lines only go to files in its session directory.
    With --verbose, what this package logs in Ray's workers reaches the driver.

    ConfigError when there is no such cluster or it does not let this process join, ClusterError when none starts here.
    """
    import ray
    import ray.data

    for name in ("ray", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not ray.is_initialized():
        let_waiting_threads_sleep()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray's core reports every actor pool whose actors may restart as an error on stderr.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        # With Ray's niceness of 15 a worker yields to all other processes, and one waiting thread delays the others.
        # That takes 10 % of a training step.
        os.environ.setdefault("RAY_worker_niceness", "0")
        with _hide_stderr():
            _join_or_start()
        if log.is_verbose():
            from sentiment_ray.cluster_log import write_worker_lines

            write_worker_lines()
        if not ray.cluster_resources().get("CPU"):
            log.notify("the cluster has no CPUs, so tasks wait until it adds a node.", level=logging.WARNING)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False


def _join_or_start() -> None:
    import ray

    from sentiment_ray.cluster_address import describe_refusal, find_cluster

    environment: dict[str, Any] = {"worker_process_setup_hook": WORKER_HOOK} if log.is_verbose() else {}
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = find_cluster()
    if address is None:
        _start_cluster(settings | {"runtime_env": environment or None})
        return
    environment["env_vars"] = list_worker_variables()
    try:
        ray.init(address, **settings, runtime_env=environment)
    except Exception as error:  # Ray raises a ConnectionError, a RuntimeError, a ValueError or one of its own
        raise ConfigError(f"the Ray cluster at {address}: {describe_refusal(error)}") from None
    threading.Thread(target=_warn_when_lost, args=(address,), daemon=True).start()


def _warn_when_lost(address: str) -> None:
    """Say on stderr when the cluster no longer answers. Ray is silent for a minute and then ends the process."""
    from sentiment_ray.cluster_address import find_obstacle

    while not find_obstacle(address, LOST_S):
        time.sleep(LOST_S)
    log.notify(
        f"the Ray cluster at {address} no longer answers. If it stays away, this job ends within a minute or two. "
        "Then run the same command again: what is finished is kept.",
        level=logging.WARNING,
    )


def _start_cluster(settings: dict[str, Any]) -> None:
    """Start a cluster on this machine that ends with this process.

    ClusterError when it has not started after some attempts.
    """
    import ray

    directory = choose_temporary_directory()
    for name, value in OWN_CLUSTER.items():
        os.environ.setdefault(name, value)
    for _ in range(START_ATTEMPTS):
        before = psutil.Process().children()
        try:
            ray.init("local", include_dashboard=False, _temp_dir=directory, **settings)
            atexit.register(end_cluster, _list_children_except(before))
            return
        except Exception as error:  # Ray raises a bare Exception here
            # What a failed start has left would slow down the next one.
            _kill(_add_descendants(_list_children_except(before)))
            if START_TIMEOUT not in str(error):
                raise
    raise ClusterError(
        f"Ray did not start on this machine in {START_ATTEMPTS} attempts of 30 s. The machine may be too busy or short "
        "of memory. Run the same command again when it is less busy."
    )


def end_cluster(started: Sequence[psutil.Process]) -> None:
    """Shut down the cluster that this process has started, and end what is left of it.

    Ray ends its workers through its raylet, which it kills after a second. On a busy machine that is too early. A
    worker that does not notice it, such as the controller of a training, would stay with all its memory.
    """
    import ray

    processes = _add_descendants(started)
    ray.shutdown()
    _, left = psutil.wait_procs(processes, timeout=END_S)
    _kill(left)


def _list_children_except(others: Sequence[psutil.Process]) -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child not in others]


def _add_descendants(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found += [*process.children(recursive=True), process]
    return found


def _kill(processes: Sequence[psutil.Process]) -> None:
    """End processes; psutil compares the time of their start, so that no other process with the same id is ended."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def _hide_stderr() -> Iterator[None]:
    """Hide what native code writes to stderr, a line about the log level, and show it before a traceback."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except SentimentRayError:
            raise  # one line says what is wrong
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)

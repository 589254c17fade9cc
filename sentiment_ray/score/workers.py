"""How many workers fit the cluster, and the pool of them that scores the units of a run; writes nothing itself."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray

from sentiment_ray import errors
from sentiment_ray.cluster_address import is_started_here
from sentiment_ray.cpu_quota import read_cpu_quota
from sentiment_ray.engine_specs import ENGINES
from sentiment_ray.errors import ConfigError
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.scorer import RunContext, Scorer
from sentiment_ray.score.turns import count_units_at_once

MAX_START_CRASHES = 100
"""Workers in a row that may die before they have loaded their engine, before the run fails. A growing pool needs many:
Ray (2.60) counts those that it asked for and took back before there was room."""
MAX_UNITS_OF_TASK = 256
"""Units that a worker gets at once. Each task costs the driver about a millisecond and a few kilobytes."""
TASKS_LEFT_PER_WORKER = 4
"""Tasks into which the units that are left are cut for each worker, so that all workers end at about the same time."""


def count_possible_workers(config: ScoreConfig, engine: str, nodes: Sequence[Mapping[str, float]]) -> int:
    """Return how many workers fit nodes with these resources; ConfigError when fewer than `num_workers` do.

    With a GPU engine each worker needs a GPU of its own.
    """
    gpus = [node.get("GPU", 0.0) if ENGINES[engine].is_gpu else math.inf for node in nodes]
    cpus = [math.floor(node.get("CPU", 0.0) / config.cpus_per_worker + 1e-9) for node in nodes]
    possible = int(sum(map(min, cpus, gpus)))
    if nodes and possible < (config.num_workers or 1):
        resources = f"{sum(node.get('CPU', 0.0) for node in nodes):g} CPUs"
        if ENGINES[engine].is_gpu:
            resources += f" and, for engine = {engine!r}, {sum(gpus):g} GPUs"
        raise ConfigError(
            f"num_workers = {config.num_workers or 1} with cpus_per_worker = {config.cpus_per_worker:g} does not fit: "
            f"the cluster has {resources} on {len(nodes)} node(s). Lower one of them, or start more nodes."
        )
    return possible


def refuse_impossible_workers(config: ScoreConfig, engine: str) -> None:
    """Raise ConfigError when the workers cannot fit the cluster that would be started on this machine, if any."""
    if not ray.is_initialized() and is_started_here():
        # Only Ray knows how many GPUs this machine has. It takes all cores, or the CPU quota if that is less.
        cpus = min(os.cpu_count() or 1, read_cpu_quota() or math.inf)
        count_possible_workers(config, engine, [{"CPU": cpus, "GPU": math.inf}])


def choose_num_workers(config: ScoreConfig, engine: str) -> int:
    """Return how many workers to start on the nodes of the cluster; ConfigError as `count_possible_workers`."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    possible = count_possible_workers(config, engine, nodes)
    return config.num_workers or possible


def cut_into_tasks(units: NDArray[np.int64], num_workers: int) -> Iterator[NDArray[np.int64]]:
    """Yield the units of each task, in order: several while many are left, single ones at the end."""
    start = 0
    while start < len(units):
        size = (len(units) - start) // (num_workers * TASKS_LEFT_PER_WORKER)
        end = start + min(max(size, 1), MAX_UNITS_OF_TASK)
        yield units[start:end]
        start = end


def score_units(context: RunContext, units: NDArray[np.int64], num_workers: int, *, engine: str) -> Iterator[int]:
    """Yield the numbers of units, int64 `(units,)`, as an autoscaling pool of workers finishes them.

    Workers get the units in this order. Ray Data starts a crashed worker again and repeats its task, without a limit;
    `crash_search` makes the repetitions end.
    """
    max_workers = max(num_workers, context.config.max_workers or 0)
    tasks = [pa.table({"unit": numbers}) for numbers in cut_into_tasks(units, max_workers)]
    units_at_once = count_units_at_once(engine, len(units), num_workers)
    pool = ray.data.ActorPoolStrategy(
        min_size=min(num_workers, len(tasks)),
        max_size=min(max_workers, len(tasks)),
        max_tasks_in_flight_per_actor=units_at_once,
        max_concurrent_calls_per_actor=units_at_once,
        enable_true_multi_threading=units_at_once > 1,
    )
    settings = ray.data.DataContext.get_current()
    settings.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0
    settings.max_consecutive_actor_init_deaths = MAX_START_CRASHES
    replies = ray.data.from_blocks(tasks).map_batches(
        Scorer,
        fn_constructor_args=(context,),
        batch_size=None,
        num_cpus=context.config.cpus_per_worker,
        num_gpus=1 if ENGINES[engine].is_gpu else None,
        compute=pool,
    )
    for row in replies.iter_rows():
        if row["error"]:
            failure = json.loads(row["error"])
            raise getattr(errors, failure["kind"])(failure["error"])
        yield int(row["unit"])

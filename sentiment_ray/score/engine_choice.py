"""Chooses the engine and the variant of a run, once for all its workers; scores no row of the input."""

import logging
from collections.abc import Mapping
from typing import Any

import ray

from sentiment_ray.bundle.manifest import Manifest
from sentiment_ray.bundle.open import Bundle
from sentiment_ray.cluster import connect
from sentiment_ray.engine_specs import ENGINES, installed_gpu_engines
from sentiment_ray.errors import ConfigError, DataError, first_line
from sentiment_ray.inference.choice import Pair, has_passed, list_gpu_choices, rank_choices
from sentiment_ray.inference.engines import explain_unusable
from sentiment_ray.inference.predictor import PackedBundle, Predictor, pack
from sentiment_ray.inference.race import RaceResult, pick_fastest, run_race
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.plan_file import read_plan
from sentiment_ray.score.workers import choose_num_workers
from sentiment_ray.storage import Store

logger = logging.getLogger(__name__)

RACE_TIMEOUT_S = 600.0
"""How long a race may take, with the time until a GPU is free. Libraries of a GPU may also end the process."""


def choose_engine(config: ScoreConfig, store: Store, bundle: Bundle) -> Pair:
    """Return the engine and the variant for all workers of a run; errors as `rank_choices`.

    `auto` takes what the plan in the output names, so that a run that is resumed writes the same bytes. For a new plan
    it takes the best pair on the CPU, or, if the cluster has GPUs, the winner of a race on one of its nodes.
    """
    ranked = rank_choices(bundle, config.engine, config.variant)
    if "auto" not in (config.engine, config.variant):
        return ranked[0]
    planned = _read_planned_choice(config, store, bundle)
    if planned:
        return planned
    on_gpu = list_gpu_choices(bundle, config.variant, installed_gpu_engines()) if config.engine == "auto" else []
    if not on_gpu:
        return ranked[0]
    connect()
    if not ray.cluster_resources().get("GPU"):
        return ranked[0]
    packed = {pair: pack(bundle, pair) for pair in (ranked[0], *on_gpu)}
    num_workers = {pair: _count_workers(config, pair[0]) for pair in packed}
    candidates = [pair for pair in packed if num_workers[pair]]
    if candidates in ([], [ranked[0]]):
        return ranked[0]
    task = ray.remote(num_cpus=config.cpus_per_worker, num_gpus=1, max_retries=0)(race_on_worker)
    reply = task.remote(bundle.manifest, {pair: packed[pair] for pair in candidates}, config.threads_per_worker)
    try:
        race = ray.get(reply, timeout=RACE_TIMEOUT_S)
    except ray.exceptions.RayError as error:
        ray.cancel(reply, force=True)
        logger.warning("the race on a node with a GPU gave no result, so the CPU scores: %s", first_line(error))
        return ranked[0]
    return pick_fastest(candidates, {pair: rate * num_workers[pair] for pair, rate in race.rates.items()})


def race_on_worker(manifest: Manifest, packed: Mapping[Pair, PackedBundle], threads: int) -> RaceResult:
    """Return how fast one worker of this machine runs each candidate; a GPU that cannot be used here is left out."""
    unusable = {engine for engine, _ in packed if ENGINES[engine].is_gpu and explain_unusable(engine)}
    candidates = [pair for pair in packed if pair[0] not in unusable]
    return run_race(manifest, candidates, lambda pair: Predictor(packed[pair], threads=threads), threads=threads)


def _read_planned_choice(config: ScoreConfig, store: Store, bundle: Bundle) -> Pair | None:
    """Return the choice in the plan of the output, if it is of this bundle and may be made again."""
    try:
        plan = read_plan(store)
    except DataError:  # `holds_same_run` says so
        return None
    values: Mapping[str, Any] = plan.identity.bundle if plan else {}
    engine, variant = str(values.get("engine")), str(values.get("variant"))
    if values.get("bundle_id") != bundle.manifest.bundle_id or engine not in ENGINES:
        return None
    if config.engine not in ("auto", engine) or config.variant not in ("auto", variant):
        return None
    named = bundle.manifest.variants.get(variant)
    is_ready = named is not None and has_passed(named, engine) and ENGINES[engine].is_installed()
    return (engine, variant) if is_ready else None


def _count_workers(config: ScoreConfig, engine: str) -> int:
    """Return how many workers with an engine fit the cluster, 0 where they are fewer than the configuration wants."""
    try:
        return choose_num_workers(config, engine)
    except ConfigError:
        return 0

"""Scores a Parquet corpus: plan, execute, commit; knows nothing of tokens or engines."""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import ray
import ray.data

from sentiment_ray import errors
from sentiment_ray.cluster import connect
from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.inference.engines import GPU_ENGINES
from sentiment_ray.inference.predictor import PackedBundle, pack_bundle
from sentiment_ray.score.columns import added_fields
from sentiment_ray.score.commit import MANIFEST_NAME, SUCCESS_NAME, commit, committed_manifest
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.estimate import estimate
from sentiment_ray.score.footers import check_schemas, read_footers
from sentiment_ray.score.listing import InputFile, list_files
from sentiment_ray.score.lock import LOCKS, Lock, locked
from sentiment_ray.score.memory import TextMemory
from sentiment_ray.score.plan import PLAN_NAME, Plan, Unit, difference, make_plan, read_plan, wanted_of, write_plan
from sentiment_ray.score.progress import shown_progress
from sentiment_ray.score.receipts import drop_receipts, find_damaged, read_receipts
from sentiment_ray.score.scorer import Scorer, Task
from sentiment_ray.score.sinks import check_sink, is_in_sink
from sentiment_ray.storage import TEMPORARY, Store, absolute, local_copy, open_store

MAX_DEATHS_AT_START = 100
"""Actors in a row that may die before they have loaded their engine, before the run does. A growing pool needs many:
Ray (2.60) counts those that it asked for and took back before there was room."""


def score_reviews(config: ScoreConfig) -> dict[str, Any]:
    """Score every row of a Parquet corpus and return where the scores are and how many rows went in and out.

    Every input row ends exactly once in a part or in quarantine. A run that died is taken up where it stopped; see
    docs/scoring.md. GateError when more than `max_quarantined` of the rows, or of the files, could not be scored.
    """
    started = time.time()
    config = config.model_copy(update={key: absolute(getattr(config, key)) for key in ("bundle", "input", "output")})
    check_sink(config)
    with local_copy(config.bundle, "bundle") as directory:
        bundle = pack_bundle(directory, engine=config.engine, variant=config.variant)
    files = list_files(config.input, config.output)
    wanted = wanted_of(config, bundle, files)
    if config.plan:
        connect()
        num_workers = fitting_workers(config, bundle.engine)
        plan = _new_plan(config, wanted, bundle, files)
        return {"input": config.input} | estimate(config, plan, bundle, min(num_workers, len(plan.units)))
    store, damaged = open_store(config.output), list[str]()
    if is_same_plan(store, config, wanted):
        manifest = committed_manifest(store)
        damaged = find_damaged(store, manifest["files"]) if manifest and config.restart else []
        if manifest and not damaged and is_in_sink(config, manifest):
            return _result(config.output, manifest, skipped=True)
    refuse_impossible(config, bundle.engine, [_this_machine()] if _starts_a_cluster() else [])
    with locked(store, config.output) as lock:
        connect()
        num_workers = fitting_workers(config, bundle.engine)
        plan = _planned(store, config, wanted, bundle, files)
        if damaged:
            store.remove(SUCCESS_NAME)
            drop_receipts(store, plan, damaged)
        receipts = _execute(store, config, plan, bundle, num_workers, lock)
        manifest = commit(store, config, plan, bundle, receipts, lock, started_at=started)
    return _result(config.output, manifest, skipped=False)


def is_same_plan(store: Store, config: ScoreConfig, wanted: dict[str, Any]) -> bool:
    """Whether the output holds a run of the same bundle, configuration and input, finished or not.

    ConfigError when it holds one of others and `restart` is not set, or anything that is no scores.
    """
    try:
        plan = read_plan(store)
    except DataError:
        if not config.restart:
            raise
        return False
    if plan and plan.wanted == wanted:
        return True
    found = f"scores of {difference(plan.wanted, wanted)}" if plan else ""
    if not plan:
        there = store.list()
        foreign = [name for name in there if not name.startswith((LOCKS, TEMPORARY + "/"))]
        if foreign and MANIFEST_NAME not in there:
            raise ConfigError(
                f"output = {config.output!r} already holds {foreign[0]!r} and no scores. Name another output."
            )
        found = "scores without a plan, as an older release wrote them" if foreign else ""
    if found and not config.restart:
        raise ConfigError(
            f"output = {config.output!r} holds {found}. Name another output, or pass --restart to replace them."
        )
    return False


def refuse_impossible(config: ScoreConfig, engine: str, nodes: Sequence[Mapping[str, float]]) -> int:
    """Return how many actors fit nodes with these resources; ConfigError when fewer than were asked for.

    On a GPU engine each has a GPU of its own.
    """
    gpus = [node.get("GPU", 0.0) if engine in GPU_ENGINES else math.inf for node in nodes]
    cpus = [math.floor(node.get("CPU", 0.0) / config.cpus_per_worker + 1e-9) for node in nodes]
    possible = int(sum(map(min, cpus, gpus)))
    if nodes and possible < (config.num_workers or 1):
        known = f"{sum(node.get('CPU', 0.0) for node in nodes):g} CPUs"
        if engine in GPU_ENGINES:
            known += f" and, for engine = {engine!r}, {sum(gpus):g} GPUs"
        raise ConfigError(
            f"num_workers = {config.num_workers or 1} with cpus_per_worker = {config.cpus_per_worker:g} does not fit: "
            f"the cluster has {known} on {len(nodes)} node(s). Lower one of them, or start more nodes."
        )
    return possible


def fitting_workers(config: ScoreConfig, engine: str) -> int:
    """Return how many actors to start on the nodes that are there; ConfigError as `refuse_impossible`."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    possible = refuse_impossible(config, engine, nodes)
    return config.num_workers or possible


def _this_machine() -> dict[str, float]:
    return {"CPU": os.cpu_count() or 1, "GPU": math.inf}  # how many GPUs it has is for Ray to find out


def _starts_a_cluster() -> bool:
    return not ray.is_initialized() and "RAY_ADDRESS" not in os.environ


def _planned(
    store: Store, config: ScoreConfig, wanted: dict[str, Any], bundle: PackedBundle, files: Sequence[InputFile]
) -> Plan:
    """Return the plan of the run that is taken up or, after removing what it replaces, a new one."""
    if is_same_plan(store, config, wanted):  # asked again: another run may have come and gone before the lock was ours
        plan = read_plan(store)
        assert plan is not None
        return plan
    _remove_scores(store)
    plan = _new_plan(config, wanted, bundle, files)
    write_plan(store, plan)
    return plan


def _new_plan(config: ScoreConfig, wanted: dict[str, Any], bundle: PackedBundle, files: Sequence[InputFile]) -> Plan:
    footers = read_footers(files)
    added = [field.name for field in added_fields(config, bundle.manifest.labels)]
    return make_plan(config, wanted, files, check_schemas(files, footers, config, added))


def _remove_scores(store: Store) -> None:
    """Remove an older run's files: what says that it is finished first, its plan, which says whose they are, last."""
    top = {name.split("/")[0] for name in store.list() if not name.startswith("_plan/")}
    for name in sorted(top, key=lambda name: name != SUCCESS_NAME):
        store.remove(name)
    for name in store.list("_plan"):
        if not name.startswith((LOCKS, PLAN_NAME)):
            store.remove(name)
    store.remove(PLAN_NAME)


def _execute(
    store: Store, config: ScoreConfig, plan: Plan, bundle: PackedBundle, num_workers: int, lock: Lock
) -> list[dict[str, Any]]:
    """Have every unit without a receipt scored and return the receipts of all, in the order of the plan."""
    receipts = read_receipts(store, plan)
    left = [unit for unit in plan.units if unit.part not in receipts]
    done = [sum(receipt[key] for receipt in receipts.values()) for key in ("rows", "rows_quarantined")]
    if left:
        with shown_progress(config.progress, sum(unit.num_rows for unit in plan.units), *done) as progress:
            memory = TextMemory.remote(config.remembered_texts) if config.remembered_texts else None
            task = Task(config, plan.fingerprint, ray.put(bundle), lock, progress, memory)
            for receipt in _run(left, task, num_workers, num_gpus=1 if bundle.engine in GPU_ENGINES else None):
                if "error" in receipt:
                    raise getattr(errors, receipt["kind"])(receipt["error"])
                receipts[receipt["part"]] = receipt
    return [receipts[unit.part] for unit in plan.units]


def _run(units: Sequence[Unit], task: Task, num_workers: int, *, num_gpus: int | None) -> Iterator[dict[str, Any]]:
    """Yield the receipts of units as an autoscaling pool of actors finishes them, the largest begun first.

    Ray Data brings a dead actor back and gives it its unit again, for ever; that this ends is the work of `attempts`.
    """
    largest_first = sorted(units, key=lambda unit: -unit.num_rows)
    rows = [{"unit": json.dumps(asdict(unit))} for unit in largest_first]
    # One unit at a time for an actor: those queued behind it would wait if its node died.
    pool = ray.data.ActorPoolStrategy(
        min_size=min(num_workers, len(units)),
        max_size=min(max(num_workers, task.config.max_workers or 0), len(units)),
        max_tasks_in_flight_per_actor=1,
    )
    context = ray.data.DataContext.get_current()
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0
    context.max_consecutive_actor_init_deaths = MAX_DEATHS_AT_START
    receipts = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        Scorer,
        fn_constructor_args=(task,),
        batch_size=1,
        num_cpus=task.config.cpus_per_worker,
        num_gpus=num_gpus,
        compute=pool,
    )
    for row in receipts.iter_rows():
        yield json.loads(row["receipt"])


def _result(output: str, manifest: dict[str, Any], *, skipped: bool) -> dict[str, Any]:
    counts = {key: manifest[key] for key in ("rows_in", "rows_scored", "rows_quarantined")}
    return {"output": output, **counts, "parts": len(manifest["parts"]), "skipped": skipped}

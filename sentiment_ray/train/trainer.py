"""Runs the training loop under Ray Train and records the run; knows nothing of tensors."""

import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
import ray
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
from ray.train.torch import TorchTrainer

from sentiment_ray.cluster import connect
from sentiment_ray.errors import SentimentRayError
from sentiment_ray.manifest import fingerprint, finished_result, read_json, remove_all, sha256_of_file, write_json
from sentiment_ray.train.checkpoint import ATTEMPTS, Checkpoint, best_first, find_checkpoints, keep_only
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.continual import Earlier, earlier_run, gained_and_lost, measured_split
from sentiment_ray.train.preflight import (
    check_rows,
    cpus_per_worker,
    digest_of_model,
    missing_room,
    resources_of,
    with_absolute_paths,
)
from sentiment_ray.train.progress import show_progress
from sentiment_ray.train.schedule import class_weights_of, has_stopped
from sentiment_ray.train.shards import ExactShards, Parts, count_rows, dataset_of, parts_of, split_of
from sentiment_ray.train.teacher import fingerprint_of_teacher, scored_by_teacher
from sentiment_ray.train.trackers import METRICS_NAME, check_trackers, open_trackers, write_metrics
from sentiment_ray.versions import installed_versions

MANIFEST_NAME = "run.json"
PLAN_NAME = "config.json"
HOW = ("max_failures", "cpus_per_worker", "checkpoint_every_s", "track")
"""Keys that say how a run is made, not what comes of it: they may change before it goes on."""


def train_encoder(config: TrainConfig) -> dict[str, Any]:
    """Fine-tune an encoder on prepared reviews and return where the best checkpoint is and how good.

    A run of the same configuration that was interrupted goes on from its last whole checkpoint; a finished one is left
    as it is.
    """
    config = with_absolute_paths(config)
    output, prepared_path = Path(config.output), Path(config.prepared) / "prepared.json"
    prepared = read_json(prepared_path)
    check_rows(prepared, config)
    labels, earlier = tuple(prepared["labels"]), earlier_run(config, prepared)
    class_weights = class_weights_of(config, labels, _rows_by_label(config, prepared, earlier))
    plan = _plan(config, prepared_path)
    name = MANIFEST_NAME if (output / MANIFEST_NAME).is_file() else PLAN_NAME
    difference = partial(_difference, plan=plan)
    found = finished_result(output, name, plan["fingerprint"], restart=config.restart, difference=difference)
    if found and name == MANIFEST_NAME:
        return {"output": str(output), "best": found["best"], "skipped": True}

    parts = _parts(config, labels, earlier)
    check_trackers(config)
    connect()
    cpus = cpus_per_worker(config)
    if found is None:  # nothing is replaced before all that can be known to be wrong was looked at
        remove_all(output, MANIFEST_NAME, METRICS_NAME, "tensorboard", ATTEMPTS, PLAN_NAME)
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / PLAN_NAME, plan)
    start = _newest(output)
    if not (start and _is_over(start, config)):
        task = {
            "labels": labels,
            "class_weights": class_weights,
            "train_rows": count_rows(parts["train"]),
            "steps": tuple(prepared.get("steps", ())),
        }
        missing = partial(missing_room, config, cpus)
        with open_trackers(config, output) as track, show_progress(config.epochs, track, missing) as board:
            trainer = _trainer(config, task, parts, cpus, board, start)
            try:
                with _interruptible():
                    trainer.fit()
            except WorkerGroupError as error:
                raise _to_mend(error) or error from None
    checkpoints = best_first(find_checkpoints(output))
    run = plan | _summary(config, prepared, earlier, output, checkpoints)
    write_metrics(output, run["history"])
    write_json(output / MANIFEST_NAME, run)
    keep_only(output, checkpoints[: config.keep_checkpoints])
    return {"output": str(output), "best": run["best"], "skipped": False}


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C interrupt a training as it does everything else.

    Ray 2.60 ends the process with 0, as if the training were done, and leaves its handler there for what comes after.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)


def _to_mend(error: WorkerGroupError) -> SentimentRayError | None:
    """Return what a worker found wrong with its input, if that is why it ended."""
    return next((each for each in error.worker_failures.values() if isinstance(each, SentimentRayError)), None)


def _plan(config: TrainConfig, prepared: Path) -> dict[str, Any]:
    """Return what a run is made from, and its fingerprint, to which keys that change no result do not belong."""
    settings = config.model_dump(mode="json", exclude={"output", "restart"})
    made_from = {"prepared": sha256_of_file(prepared), "model": digest_of_model(config.model)}
    if config.start_from:
        made_from["earlier"] = sha256_of_file(Path(config.start_from) / MANIFEST_NAME)
    if config.distill:
        made_from["teacher"] = fingerprint_of_teacher(config.distill)
    wanted = fingerprint([{key: value for key, value in settings.items() if key not in HOW}, made_from])
    return {"config": settings, "made_from": made_from, "fingerprint": wanted}


def _difference(then: dict[str, Any], *, plan: dict[str, Any]) -> str:
    """Return in what an earlier plan of the same output was another."""
    changed = [
        f"{key} = {then['config'].get(key)!r}, now {value!r}"
        for key, value in plan["config"].items()
        if key not in HOW and then["config"].get(key) != value
    ]
    made_from = then["made_from"]
    changed += [f"another {name}" for name, digest in plan["made_from"].items() if made_from.get(name) != digest]
    return "; ".join(changed)


def _rows_by_label(config: TrainConfig, prepared: dict[str, Any], earlier: Earlier | None) -> dict[str, float]:
    """Return how many training rows each label has, with the share of an earlier run's that is replayed."""
    rows = prepared["by_split"]["train"]
    if not (earlier and config.replay):
        return dict(rows)
    old = read_json(earlier.prepared / "prepared.json")["by_split"]["train"]
    return {label: count + config.replay * old[label] for label, count in rows.items()}


def _summary(
    config: TrainConfig,
    prepared: dict[str, Any],
    earlier: Earlier | None,
    output: Path,
    checkpoints: list[Checkpoint],
) -> dict[str, Any]:
    """Return what run.json says beside the plan: the best checkpoint, the history, the base model."""
    best = checkpoints[0]
    history = max(checkpoints, key=lambda checkpoint: checkpoint.place).progress.history
    metrics = best.progress.history[-1]
    return {
        "best": {
            "checkpoint": best.path.relative_to(output).as_posix(),
            "epoch": best.progress.epoch,
            "metrics": {key: metrics[key] for key in ("macro_f1", "accuracy", "validation_loss", "rows")},
        },
        "history": history,
        "base_model": ray.get(_base_model.remote(config.model_dump(mode="json"), prepared)),
        "earlier": gained_and_lost(config, prepared, earlier, best.path) if earlier else None,
        "labels": prepared["labels"],
        "steps": prepared.get("steps", []),
        "versions": installed_versions("ray", "torch", "transformers", "tokenizers"),
    }


def _newest(output: Path) -> Checkpoint | None:
    """Return the checkpoint that an earlier start of this run came to, if any, and say so."""
    found = find_checkpoints(output)
    if not found:
        return None
    epoch, done = found[-1].place
    click.echo(f"going on from epoch {epoch + 1}, {done:.0%} of it done", err=True)
    return found[-1]


def _is_over(checkpoint: Checkpoint, config: TrainConfig) -> bool:
    return checkpoint.progress.epoch >= config.epochs or has_stopped(checkpoint.progress.history, config)


def _parts(config: TrainConfig, labels: tuple[str, ...], earlier: Earlier | None) -> dict[str, Parts]:
    """Return what is read of which files for each split; DataError when a teacher's scores lack what is needed."""
    splits = {split: [split_of(Path(config.prepared), split)] for split in ("train", "validation")}
    if earlier and config.replay:
        splits["train"].append(split_of(earlier.prepared, "train", share=config.replay))
    if config.distill:
        splits["train"].append(scored_by_teacher(config.distill, labels))
    return {split: parts_of(sources, seed=config.seed) for split, sources in splits.items()}


def _trainer(
    config: TrainConfig,
    task: dict[str, Any],
    parts: dict[str, Parts],
    cpus: float,
    board: Any,
    start: Checkpoint | None,
) -> TorchTrainer:
    attempts = Path(config.output) / ATTEMPTS
    settings = {
        "config": config.model_dump(mode="json"),
        "task": task,
        # Ray gives a worker with a fraction of a CPU one thread; torch gets as many as the fraction was meant for.
        "threads": None if config.use_gpu else math.ceil(cpus),
        "board": board,
        "start": str(start.path) if start else None,
    }
    # Ray takes over a checkpoint, and learns of the end, when it looks; a report waits for the one before it. Else 2 s.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    number = 1 + max((int(path.name) for path in attempts.glob("*") if path.name.isdecimal()), default=0)
    return TorchTrainer(
        _worker_entry,
        train_loop_config=settings,
        scaling_config=ScalingConfig(
            num_workers=config.num_workers, use_gpu=config.use_gpu, resources_per_worker=resources_of(config, cpus)
        ),
        run_config=RunConfig(
            # Ray would go on from its own list of checkpoints, which a crash leaves half written: each start is new.
            name=str(number),
            storage_path=str(attempts),
            failure_config=FailureConfig(max_failures=config.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=config.keep_checkpoints, checkpoint_score_attribute="score"),
        ),
        datasets={split: dataset_of(found) for split, found in parts.items()},
        dataset_config=ExactShards(),
    )


def _worker_entry(settings: dict[str, Any]) -> None:
    """Import the loop on the worker, so that the driver needs no torch."""
    from sentiment_ray.train.worker import train_loop_per_worker

    train_loop_per_worker(settings)


@ray.remote
def _base_model(settings: dict[str, Any], prepared: dict[str, Any]) -> dict[str, Any]:
    """Measure the base model as it came, on a sample of the test split (validation where there is no test)."""
    from sentiment_ray.train.baseline import base_model_metrics

    config = TrainConfig(**settings)
    split = Path(config.prepared) / measured_split(prepared)
    return base_model_metrics(config.model, split, prepared["labels"], max_tokens=config.max_tokens)

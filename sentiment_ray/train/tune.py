"""Searches for the best training keys with Ray Tune and Optuna; a trial is the training loop in its own process."""

import json
import logging
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import ray
import tomli_w
from pyarrow import parquet
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from sentiment_ray.cluster import connect
from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.manifest import (
    fingerprint,
    finished_result,
    local_path,
    read_json,
    remove_all,
    sha256_of_file,
    write_json,
)
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.preflight import absolute_model, check_rows, digest_of_model, with_absolute_paths
from sentiment_ray.train.schedule import class_weights_of, score_of
from sentiment_ray.train.tune_config import Choice, TuneConfig, check_search, is_whole

MANIFEST_NAME, PLAN_NAME, BEST_NAME, TRIALS = "tune.json", "search.json", "best.toml", "trials"
RESERVED_CPUS = 0.25
NEVER_S = 1e9


def tune_encoder(config: TuneConfig, base: TrainConfig) -> dict[str, Any]:
    """Try keys of [train], write the best as best.toml, a file for train_encoder, and return it with its score.

    A search that was interrupted goes on: trials that are over are not tried again.
    """
    drawn = check_search(config.search, base)
    models = {with_absolute_paths(one).model for one in drawn}
    space = {name: _domain(name, choice, drawn[0]) for name, choice in config.search.items()}
    output, base = local_path(config.output, "output"), with_absolute_paths(base)
    prepared_path = Path(base.prepared) / "prepared.json"
    check_rows(read_json(prepared_path), base)
    settings = [config.model_dump(mode="json", exclude={"output", "restart"}), base.model_dump(mode="json")]
    wanted = fingerprint(
        [settings, sha256_of_file(prepared_path), [digest_of_model(model) for model in sorted(models)]]
    )
    name = MANIFEST_NAME if (output / MANIFEST_NAME).is_file() else PLAN_NAME
    found = finished_result(output, name, wanted, restart=config.restart)
    if found and name == MANIFEST_NAME:
        return _result(output, found, skipped=True)
    connect()
    resources = resources_per_trial(config, base)
    if found is None:  # Ray Tune would take up the trials of another search
        remove_all(output, MANIFEST_NAME, BEST_NAME, TRIALS, PLAN_NAME)
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / PLAN_NAME, {"config": settings, "fingerprint": wanted})
    trials, failed = _search(config, base, space, read_json(prepared_path), output, resources)
    best = max(trials, key=lambda trial: trial["score"])
    chosen = {key: value for key, value in (base.model_dump(mode="json") | best["keys"]).items() if value is not None}
    (output / BEST_NAME).write_text(tomli_w.dumps({"train": chosen}), encoding="utf-8")
    manifest = {"best": best, "trials": trials, "failed": failed, "config": settings, "fingerprint": wanted}
    write_json(output / MANIFEST_NAME, manifest)
    return _result(output, manifest, skipped=False)


def _result(output: Path, manifest: dict[str, Any], *, skipped: bool) -> dict[str, Any]:
    counts = {"trials": len(manifest["trials"]), "failed": len(manifest["failed"])}
    best = {"config": str(output / BEST_NAME), "best": manifest["best"]}
    return {"output": str(output), **best, **counts, "skipped": skipped}


def _search(
    config: TuneConfig,
    base: TrainConfig,
    space: dict[str, Any],
    prepared: dict[str, Any],
    output: Path,
    resources: dict[str, float],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run the trials that are left; return keys, score and history of each, and keys and error of those that failed."""
    for name in ("ray.tune", "optuna"):
        logging.getLogger(name).setLevel(logging.ERROR)
    trainable = tune.with_resources(
        tune.with_parameters(
            _train_once, base=base.model_dump(mode="json"), prepared=prepared, use_gpu=resources["gpu"] > 0
        ),
        resources,
    )
    storage, longest = output / TRIALS, _longest(config, base)
    if _can_go_on(storage):
        tuner = tune.Tuner.restore(str(storage), trainable, resume_unfinished=True, restart_errored=True)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space=space,
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                num_samples=config.trials,
                search_alg=OptunaSearch(seed=config.seed),
                scheduler=ASHAScheduler(time_attr="epoch", max_t=max(longest, 2)) if longest > 1 else None,
            ),
            run_config=tune.RunConfig(
                name=storage.name,
                storage_path=str(output),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1),  # a lost node is not the keys' fault
            ),
        )
    results = _until_all_are_over(tuner)
    failed = [
        {"keys": result.config, "error": _last_line(result.error)} for result in results if result.error is not None
    ]
    for trial in failed:
        click.echo(f"warning: a trial failed with {trial['keys']}: {trial['error']}", err=True)
    trials = [
        {"keys": result.config, "score": result.metrics["score"], "history": result.metrics["history"]}
        for result in results
        if result.error is None and result.metrics and "history" in result.metrics
    ]
    if not trials:
        raise DataError(f"All {config.trials} trials failed. Mend what they say and give the command again.")
    return trials, failed


def _until_all_are_over(tuner: tune.Tuner) -> tune.ResultGrid:
    """Run a search; after Ctrl-C, when Ray Tune has saved it and returns as if it were over, raise KeyboardInterrupt.

    Ray 2.60 puts a handler of its own in the main thread and, when it was called, the earlier one back.
    """
    before = signal.getsignal(signal.SIGINT)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "0"
    if threading.current_thread() is not threading.main_thread():
        return tuner.fit()
    try:
        results = tuner.fit()
        if signal.getsignal(signal.SIGINT) is before:
            raise KeyboardInterrupt
        return results
    finally:
        signal.signal(signal.SIGINT, before)


def _can_go_on(storage: Path) -> bool:
    """Whether Ray Tune can take up a search; it writes the list of trials some seconds after all else."""
    for path in storage.glob("experiment_state-*.json"):
        try:
            json.loads(path.read_bytes())
        except ValueError:  # it was being copied
            path.unlink()
    if any(storage.glob("experiment_state-*.json")):
        return bool(tune.Tuner.can_restore(str(storage)))
    if any(storage.glob("*/result.json")):
        aside = storage.with_name(f"{storage.name}-of-{time.strftime('%Y-%m-%dT%H-%M-%S')}")
        storage.rename(aside)
        click.echo(f"warning: Ray Tune's list of the trials was damaged, so they begin anew. See {aside}.", err=True)
    shutil.rmtree(storage, ignore_errors=True)
    return False


def _last_line(error: Exception) -> str:
    """Return what a trial said last, without the traceback that Ray puts before it."""
    return str(error).strip().rpartition("\n")[2]


def _train_once(keys: dict[str, Any], base: dict[str, Any], prepared: dict[str, Any], *, use_gpu: bool) -> None:
    """Train once with some keys and report after each epoch; a trial, in a process of its own."""
    import torch

    from sentiment_ray.train.batches import Window
    from sentiment_ray.train.checkpoint import Progress
    from sentiment_ray.train.loop import Task, Worker, fine_tune
    from sentiment_ray.train.rows import window_of

    config = TrainConfig.model_validate(base | keys | {"checkpoint_every_s": NEVER_S})
    labels, device = tuple(prepared["labels"]), torch.device("cuda" if use_gpu else "cpu")
    torch.set_num_threads(max(1, math.ceil(tune.get_context().get_trial_resources().head_cpus)))

    def windows(split: str, num_rows: int) -> Iterator[Window]:
        table = parquet.read_table(Path(config.prepared) / split, columns=["text", "label"])
        for start in range(0, len(table), num_rows):
            yield window_of(table.slice(start, num_rows), labels)

    def report(_checkpoint: Path | None, _name: str, progress: Progress, _score: float | None) -> None:
        best = max(score_of(metrics, config.best_by) for metrics in progress.history)  # the one that is kept
        tune.report({"score": best, "epoch": progress.epoch, "history": progress.history})

    worker = Worker(
        rank=0,
        world_size=1,
        device=device,
        windows=windows,
        wrap=lambda model: model,
        report=report,
        show=lambda epochs_done, loss: None,
    )
    counts = prepared["by_split"]["train"]
    weights, steps = class_weights_of(config, labels, counts), tuple(prepared.get("steps", ()))
    task = Task(labels, weights, prepared["counts"]["train"], steps)
    fine_tune(config, task, worker, None)


def _domain(name: str, choice: Choice, drawn: TrainConfig) -> Any:
    """Return what Ray Tune draws from for a key; a model is named by its absolute path, for trials run elsewhere."""
    if choice.choices:
        return tune.choice([absolute_model(value) if name == "model" else value for value in choice.choices])
    if is_whole(name, drawn):
        return (tune.lograndint if choice.log else tune.randint)(int(choice.low or 0), int(choice.high or 0) + 1)
    return (tune.loguniform if choice.log else tune.uniform)(choice.low, choice.high)


def _longest(config: TuneConfig, base: TrainConfig) -> int:
    tried = config.search.get("epochs")
    return int(max(tried.ends)) if tried else base.epochs


def resources_per_trial(config: TuneConfig, base: TrainConfig) -> dict[str, float]:
    """Return what Ray must keep for a trial; ConfigError when no node has as much."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = float(base.use_gpu) if config.gpus_per_trial is None else config.gpus_per_trial
    free = max((node.get("CPU", 0.0) for node in nodes if node.get("GPU", 0.0) >= gpus), default=0.0)
    cpus = config.cpus_per_trial or free - RESERVED_CPUS
    if not 0 < cpus <= free:
        most = max(node.get("CPU", 0.0) for node in nodes)
        raise ConfigError(
            f"A trial needs cpus_per_trial = {max(cpus, RESERVED_CPUS):g} and gpus_per_trial = {gpus:g} on one node; "
            f"the largest has {most:g} CPUs, and the cluster {sum(node.get('GPU', 0.0) for node in nodes):g} GPUs. "
            "Lower one of them, or start larger nodes."
        )
    return {"cpu": cpus, "gpu": gpus}

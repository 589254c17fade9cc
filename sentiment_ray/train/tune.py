"""Searches for the best keys of [train] with Ray Tune and Optuna; each trial runs the training loop in a process."""

import json
import logging
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ray
import tomli_w
from pyarrow import parquet
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from sentiment_ray import log
from sentiment_ray.cluster import connect
from sentiment_ray.config.sections import rename_old_keys
from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.manifest import (
    find_finished_result,
    fingerprint,
    remove_all,
    write_json,
)
from sentiment_ray.paths import local_path
from sentiment_ray.train.batch_size import choose_batch_size
from sentiment_ray.train.config import TrainConfig, use_first_names
from sentiment_ray.train.preflight import Inspected, absolute_model, check_rows, hash_model, with_absolute_paths
from sentiment_ray.train.prepared import PreparedReviews, read_prepared
from sentiment_ray.train.schedule import compute_class_weights, compute_score
from sentiment_ray.train.task import Task
from sentiment_ray.train.tune_config import SearchRange, TuneConfig, check_search, takes_integers

MANIFEST_NAME, PLAN_NAME, BEST_NAME, TRIALS = "tune.json", "search.json", "best.toml", "trials"
RESERVED_CPUS = 0.25
"""CPUs of the largest node that are left free by default, for Ray's own tasks."""
NEVER_S = 1e9
"""Interval of the checkpoints within an epoch: a trial writes none."""


def tune_encoder(config: TuneConfig, base: TrainConfig) -> dict[str, Any]:
    """Try values for keys of [train]; write the best as best.toml, a file for train_encoder, and return its score.

    An interrupted search with the same configuration resumes and does not repeat finished trials.
    """
    checked = check_search(config.search, base)
    revisions = _find_revisions(checked)
    space = {name: _build_domain(name, values, checked[0]) for name, values in config.search.items()}
    output, base = local_path(config.output, "output"), _pin(base, revisions)
    prepared = read_prepared(Path(base.prepared))
    check_rows(prepared)
    train_exclude = {"revision"} if base.revision is None else set()  # older searches keep their fingerprint
    settings = [
        config.model_dump(mode="json", exclude={"output", "restart"}),
        base.model_dump(mode="json", exclude=train_exclude),
    ]
    tune_settings, train_settings = settings
    hashed = [tune_settings | {"search": use_first_names(tune_settings["search"])}, use_first_names(train_settings)]
    digests = [hash_model(model, revision) for model, revision in sorted(revisions.items())]
    wanted = fingerprint([hashed, prepared.compute_digest(), digests])
    name = MANIFEST_NAME if (output / MANIFEST_NAME).is_file() else PLAN_NAME
    existing = find_finished_result(output, name, wanted, restart=config.restart, own_files=None)
    if existing and name == MANIFEST_NAME:
        return _summarise(output, existing, skipped=True)
    connect()
    resources = resources_per_trial(config, base)
    if existing is None:  # otherwise Ray Tune would resume the trials of another search
        remove_all(output, MANIFEST_NAME, BEST_NAME, TRIALS, PLAN_NAME)
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / PLAN_NAME, {"config": settings, "fingerprint": wanted})
    trials, failed = _search(config, base, space, prepared, output, resources, revisions)
    best = max(trials, key=lambda trial: trial["score"])
    best_keys = base.model_dump(mode="json") | best["keys"]
    best_keys["revision"] = revisions.get(best_keys["model"])
    written = {key: value for key, value in best_keys.items() if value is not None}
    (output / BEST_NAME).write_text(tomli_w.dumps({"train": written}), encoding="utf-8")
    manifest = {"best": best, "trials": trials, "failed": failed, "config": settings, "fingerprint": wanted}
    write_json(output / MANIFEST_NAME, manifest)
    return _summarise(output, manifest, skipped=False)


def _find_revisions(configs: Iterable[TrainConfig]) -> dict[str, str | None]:
    """Return the models of some configurations, local ones by absolute path, with the commit of each on the Hub."""
    revisions: dict[str, str | None] = {}
    inspected: Inspected = {}
    for config in configs:
        pinned = _pin(config, revisions, inspected)
        revisions[pinned.model] = pinned.revision
    return revisions


def _pin(config: TrainConfig, revisions: dict[str, str | None], inspected: Inspected | None = None) -> TrainConfig:
    """Return a configuration with absolute paths, and with the commit that its model has in `revisions`, if any."""
    revision = revisions.get(config.model) or config.revision
    return with_absolute_paths(config.model_copy(update={"revision": revision}), inspected)


def _summarise(output: Path, manifest: dict[str, Any], *, skipped: bool) -> dict[str, Any]:
    """Return what the command prints."""
    counts = {"trials": len(manifest["trials"]), "failed": len(manifest["failed"])}
    best = {"config": str(output / BEST_NAME), "best": manifest["best"]}
    return {"output": str(output), **best, **counts, "skipped": skipped}


def _search(
    config: TuneConfig,
    base: TrainConfig,
    space: dict[str, Any],
    prepared: PreparedReviews,
    output: Path,
    resources: dict[str, float],
    revisions: dict[str, str | None],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run the remaining trials.

    Return the keys, score and history of each finished trial, and the keys and error of each failed one.
    """
    for name in ("ray.tune", "optuna"):
        logging.getLogger(name).setLevel(logging.ERROR)
    trainable = tune.with_resources(
        tune.with_parameters(
            _train_once, base=base, prepared=prepared, revisions=revisions, use_gpu=resources["gpu"] > 0
        ),
        resources,
    )
    storage, max_epochs = output / TRIALS, _find_max_epochs(config, base)
    if _can_resume(storage):
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
                scheduler=ASHAScheduler(time_attr="epoch", max_t=max(max_epochs, 2)) if max_epochs > 1 else None,
            ),
            run_config=tune.RunConfig(
                name=storage.name,
                storage_path=str(output),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1),  # one retry, because a node may be lost
            ),
        )
    results = _run_until_finished(tuner)
    failed = [
        {"keys": result.config, "error": _last_line(result.error)} for result in results if result.error is not None
    ]
    for trial in failed:
        log.notify(f"a trial failed with {trial['keys']}: {trial['error']}", level=logging.WARNING)
    trials = [
        {"keys": result.config, "score": result.metrics["score"], "history": result.metrics["history"]}
        for result in results
        if result.error is None and result.metrics and "history" in result.metrics
    ]
    if not trials:
        raise DataError(
            f"All {config.trials} trials failed. Correct what their warnings say and run the command again."
        )
    return trials, failed


def _run_until_finished(tuner: tune.Tuner) -> tune.ResultGrid:
    """Run a search and return its results; raise KeyboardInterrupt after Ctrl-C.

    After Ctrl-C Ray Tune saves the search and returns as if it had finished. Ray 2.60 installs its own signal handler
    in the main thread and restores the previous one only when its own was called.
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


def _can_resume(storage: Path) -> bool:
    """Return whether Ray Tune can resume a search; remove or set aside what it cannot read.

    Ray Tune writes its list of trials some seconds after all other files.
    """
    for path in storage.glob("experiment_state-*.json"):
        try:
            json.loads(path.read_bytes())
        except ValueError:  # a crash cut the file short
            path.unlink()
    if any(storage.glob("experiment_state-*.json")):
        return bool(tune.Tuner.can_restore(str(storage)))
    if any(storage.glob("*/result.json")):
        aside = storage.with_name(f"{storage.name}-of-{time.strftime('%Y-%m-%dT%H-%M-%S')}")
        storage.rename(aside)
        log.notify(
            f"Ray Tune's list of trials is damaged, so all trials start again. See {aside}.", level=logging.WARNING
        )
    shutil.rmtree(storage, ignore_errors=True)
    return False


def _last_line(error: Exception) -> str:
    """Return the last line of a trial's error, without the traceback that Ray puts before it."""
    return str(error).strip().rpartition("\n")[2]


def _train_once(
    keys: dict[str, Any],
    base: TrainConfig,
    prepared: PreparedReviews,
    revisions: dict[str, str | None],
    *,
    use_gpu: bool,
) -> None:
    """Train once with some keys and report after each epoch; runs in a process of its own."""
    import torch

    from sentiment_ray.train.batches import Chunk
    from sentiment_ray.train.checkpoint import Progress
    from sentiment_ray.train.loop import fine_tune
    from sentiment_ray.train.rows import build_chunk
    from sentiment_ray.train.setup import Worker

    config = TrainConfig.model_validate(
        base.model_dump() | rename_old_keys(TrainConfig, keys) | {"checkpoint_every_s": NEVER_S}
    )
    config = config.model_copy(update={"revision": revisions.get(config.model)})
    num_rows = prepared.num_rows["train"]
    config = choose_batch_size(config, num_rows=num_rows, mean_tokens=prepared.estimate_mean_tokens())
    labels, device = prepared.labels, torch.device("cuda" if use_gpu else "cpu")
    torch.set_num_threads(max(1, math.ceil(tune.get_context().get_trial_resources().head_cpus)))

    def read_chunks(split: str, num_rows: int) -> Iterator[Chunk]:
        table = parquet.read_table(Path(config.prepared) / split, columns=["text", "label"])
        for start in range(0, len(table), num_rows):
            yield build_chunk(table.slice(start, num_rows), labels)

    def report(_checkpoint: Path | None, _name: str, progress: Progress, _score: float | None) -> None:
        # The best epoch counts, because a training keeps the checkpoint of its best epoch.
        best = max(compute_score(metrics, config.best_by) for metrics in progress.history)
        tune.report({"score": best, "epoch": progress.epoch, "history": progress.history})

    worker = Worker(
        rank=0,
        world_size=1,
        device=device,
        read_chunks=read_chunks,
        wrap=lambda model: model,
        report=report,
        show=lambda epochs_done, loss: None,
    )
    class_weights = compute_class_weights(config, labels, prepared.rows_by_label["train"])
    task = Task(labels, class_weights, num_rows, prepared.cleaning_steps)
    fine_tune(config, task, worker, None)


def _build_domain(name: str, values: SearchRange, checked: TrainConfig) -> Any:
    """Return what Ray Tune draws a key's values from; local models become absolute paths, for trials on other nodes."""
    if values.choices:
        return tune.choice([absolute_model(value) if name == "model" else value for value in values.choices])
    if takes_integers(name, checked):
        return (tune.lograndint if values.log else tune.randint)(int(values.low or 0), int(values.high or 0) + 1)
    return (tune.loguniform if values.log else tune.uniform)(values.low, values.high)


def _find_max_epochs(config: TuneConfig, base: TrainConfig) -> int:
    tried = config.search.get("epochs")
    return int(max(tried.ends)) if tried else base.epochs


def resources_per_trial(config: TuneConfig, base: TrainConfig) -> dict[str, float]:
    """Return the CPUs and GPUs that Ray reserves for a trial; ConfigError when no node has as many."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = float(base.use_gpu) if config.gpus_per_trial is None else config.gpus_per_trial
    free = max((node.get("CPU", 0.0) for node in nodes if node.get("GPU", 0.0) >= gpus), default=0.0)
    cpus = config.cpus_per_trial or free - RESERVED_CPUS
    if not 0 < cpus <= free:
        most = max(node.get("CPU", 0.0) for node in nodes)
        raise ConfigError(
            f"A trial needs cpus_per_trial = {max(cpus, RESERVED_CPUS):g} and gpus_per_trial = {gpus:g} on one node; "
            f"the largest has {most:g} CPUs, and the cluster {sum(node.get('GPU', 0.0) for node in nodes):g} GPUs. "
            "Lower one of the two keys, or start larger nodes."
        )
    return {"cpu": cpus, "gpu": gpus}

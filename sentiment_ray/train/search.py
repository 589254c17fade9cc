"""Runs the trials of a search with Ray Tune, Optuna and ASHA, and records each as it ends; knows no training."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from sentiment_ray import log
from sentiment_ray.errors import ConfigError
from sentiment_ray.manifest import format_json
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.preflight import absolute_model
from sentiment_ray.train.trial import DONE, WHOLE, TrialPlan, run_trial
from sentiment_ray.train.trial_records import RECORDS_NAME, TrialRecord, append_record
from sentiment_ray.train.tune_config import SearchRange, TuneConfig, apply_keys, list_settings, takes_integers
from sentiment_ray.train.untried import UntriedSettings, find_untried

RESERVED_CPUS = 0.25
"""CPUs of the largest node that are left free by default, for Ray's own tasks."""
GRACE_PERCENT = 50
"""Share of its own epochs, in percent, that every trial trains before ASHA may stop it.

It is chosen by benchmarks/grace_period.py: with 50 % of four epochs the best setting was never stopped, and a search
trained 78 % of all epochs. With 25 % it was stopped in 1.6 % of the orders of the trials, with 59 % of the epochs.
"""
REDUCTION_FACTOR = 2
"""ASHA goes on with one of this many trials."""


@dataclass(frozen=True)
class Search:
    """A search: its keys, one configuration that it may try, what its trials have in common, and where Ray writes."""

    config: TuneConfig
    checked: TrainConfig
    plan: TrialPlan
    storage: Path

    def identify(self, keys: Mapping[str, Any]) -> str:
        """Return a text that is equal for settings that train the same."""
        try:
            settings = apply_keys(self.plan.base, keys).model_dump(mode="json")
        except ConfigError:  # the trial will fail with it
            settings = dict(keys)
        return format_json(settings, sort_keys=True, default=str)

    def list_settings(self) -> Iterator[dict[str, Any]] | None:
        """Yield all settings, or return None when a key takes any number between two bounds."""
        search = {name: _use_absolute_models(name, values) for name, values in self.config.search.items()}
        return list_settings(search, self.checked)


def can_go_on(search: Search, records: Sequence[TrialRecord]) -> bool:
    """Return whether trials are left to do; a message says when all settings were tried before."""
    if len(records) >= search.config.trials:
        return False
    settings, tried = search.list_settings(), [search.identify(record.keys) for record in records]
    if settings is None or find_untried(settings, search.identify, tried):
        return True
    log.notify(
        f"all {len(records)} settings of [tune.search] have been tried, so the search ends after {len(records)} of "
        f"{search.config.trials} trials"
    )
    return False


def run_search(search: Search, records: Sequence[TrialRecord], resources: dict[str, float]) -> list[TrialRecord]:
    """Run the trials that are left and record each as it ends; return those that were lost with their process."""
    for name in ("ray.tune", "optuna"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not can_go_on(search, records):
        return []
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the trials are recorded by `_Recorder`
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new one prints a table even with verbose=0
    plan = replace(search.plan, use_gpu=resources["gpu"] > 0)
    config, output = search.config, search.storage.parent
    recorder = _Recorder(output)
    number = 1 + max((int(path.name) for path in search.storage.glob("*") if path.name.isdecimal()), default=0)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, plan=plan), resources),
        param_space={name: _build_domain(name, values, search.checked) for name, values in config.search.items()},
        tune_config=tune.TuneConfig(
            metric="score",
            mode="max",
            num_samples=config.trials - len(records),
            search_alg=UntriedSettings(
                # Another seed after each start, so that the first values are not proposed again.
                OptunaSearch(seed=(config.seed + len(records)) % 2**32),
                search.identify,
                search.list_settings,
                [(record.keys, record.score) for record in records],
            ),
            scheduler=_build_scheduler(config, plan.base),
        ),
        run_config=tune.RunConfig(
            name=str(number),
            storage_path=str(search.storage),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=1),  # one retry, because a node may be lost
            callbacks=[recorder],
        ),
    )
    results = _run_until_finished(tuner)
    lost = [TrialRecord(each.config or {}, error=_last_line(each.error)) for each in results if each.error is not None]
    can_go_on(search, [*records, *recorder.records, *lost])
    return lost


class _Recorder(tune.Callback):  # type: ignore[misc]
    """Records each trial as it ends, so that a search resumes without it."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self.records: list[TrialRecord] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write the line of a trial that Ray Tune has ended."""
        result = trial.last_result or {}
        if "error" in result:
            record = TrialRecord(trial.config, error=result["error"])
        elif "history" in result:
            record = TrialRecord(trial.config, result["score"], result["history"])
        else:  # the trial was interrupted
            return
        append_record(self._output, record)
        self.records.append(record)


def _build_scheduler(config: TuneConfig, base: TrainConfig) -> ASHAScheduler | None:
    """Return what stops trials with poor scores; None when no trial has a second epoch.

    Trials are compared after the same share of their own epochs, because the learning rate falls with this share.
    """
    tried = config.search.get("epochs")
    if (max(tried.ends) if tried else base.epochs) < 2:
        return None
    return ASHAScheduler(time_attr=DONE, max_t=WHOLE, grace_period=GRACE_PERCENT, reduction_factor=REDUCTION_FACTOR)


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


def set_old_trials_aside(search: Search, records: Sequence[TrialRecord]) -> None:
    """Rename the directory of trials that Ray Tune wrote and no list names, as earlier releases left it."""
    storage = search.storage
    if records or not any(storage.glob("*/result.json")):
        return
    aside = storage.with_name(f"{storage.name}-of-{time.strftime('%Y-%m-%dT%H-%M-%S')}")
    storage.rename(aside)
    log.notify(
        f"{storage.parent} has no {RECORDS_NAME}, which names the finished trials, so all trials start again. What was "
        f"there is in {aside}.",
        level=logging.WARNING,
    )


def _last_line(error: Exception) -> str:
    """Return the last line of a trial's error, without the traceback that Ray puts before it."""
    return str(error).strip().rpartition("\n")[2]


def _build_domain(name: str, values: SearchRange, checked: TrainConfig) -> Any:
    """Return what Ray Tune draws a key's values from."""
    values = _use_absolute_models(name, values)
    if values.choices:
        return tune.choice(list(values.choices))
    if takes_integers(name, checked):
        return (tune.lograndint if values.log else tune.randint)(int(values.low or 0), int(values.high or 0) + 1)
    return (tune.loguniform if values.log else tune.uniform)(values.low, values.high)


def _use_absolute_models(name: str, values: SearchRange) -> SearchRange:
    """Return the same range; local models get absolute paths, for trials on other nodes."""
    if name != "model":
        return values
    return SearchRange(choices=tuple(absolute_model(value) for value in values.choices))


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

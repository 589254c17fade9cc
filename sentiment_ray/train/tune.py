"""Searches for the best keys of [train]: the checks, the files of a search, and the best trial; trains nothing."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from sentiment_ray import log
from sentiment_ray.cluster import connect
from sentiment_ray.errors import DataError
from sentiment_ray.manifest import LOCK_DIRECTORY, find_finished_result, fingerprint, read_json, remove_all, write_json
from sentiment_ray.output_lock import hold_local_lock
from sentiment_ray.paths import local_path
from sentiment_ray.train.config import TrainConfig, use_first_names, with_earlier_defaults
from sentiment_ray.train.continual import load_previous_run, use_labels
from sentiment_ray.train.preflight import Inspected, check_rows, hash_model, with_absolute_paths
from sentiment_ray.train.prepared import PreparedReviews, read_prepared
from sentiment_ray.train.schedule import compute_class_weights
from sentiment_ray.train.search import Search, can_go_on, resources_per_trial, run_search, set_old_trials_aside
from sentiment_ray.train.trial import TrialPlan
from sentiment_ray.train.trial_records import RECORDS_NAME, TrialRecord, read_records, write_records
from sentiment_ray.train.trial_summary import summarise_trials
from sentiment_ray.train.tune_closing import describe_other_steps, show_closing
from sentiment_ray.train.tune_config import TuneConfig, apply_keys, check_search

MANIFEST_NAME, PLAN_NAME, BEST_NAME, TRIALS = "tune.json", "search.json", "best.toml", "trials"


def tune_encoder(config: TuneConfig, base: TrainConfig) -> dict[str, Any]:
    """Try values for keys of [train]; write the best as best.toml, a file for train_encoder, and return its score.

    No setting is trained twice. The same command resumes an interrupted search, and a larger number of `trials`
    continues a finished one. ConfigError and DataError for wrong input come before any work.
    """
    checked = check_search(config.search, base)
    revisions = _find_revisions(checked)
    output, base = local_path(config.output, "output"), _pin(base, revisions)
    prepared = read_prepared(Path(base.prepared))
    prepared = _check_trainings(base, checked, prepared)
    inputs = [prepared.compute_digest(), [hash_model(*model) for model in sorted(revisions.items())]]
    base, name, existing = _find_same_search(output, config, base, inputs)
    plan = _describe_search(config, base, inputs)
    if name is None:
        manifest = MANIFEST_NAME if (output / MANIFEST_NAME).is_file() else PLAN_NAME
        find_finished_result(output, manifest, plan["fingerprint"], restart=config.restart, own_files=None)
    search = Search(config, checked[0], TrialPlan(base, prepared, revisions, use_gpu=False), output / TRIALS)
    records = read_records(output) or _list_records(existing)
    num_done = len(existing.get("trials", ())) + len(existing.get("failed", ()))
    if name == MANIFEST_NAME and (num_done >= config.trials or not can_go_on(search, records)):
        return _summarise(output, existing, skipped=True)
    connect()
    resources = resources_per_trial(config, base)
    with hold_local_lock(output / LOCK_DIRECTORY, output):
        if name is None:  # the result of another search stays until this one has its own
            remove_all(output, TRIALS, RECORDS_NAME, PLAN_NAME)
            records = []
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / PLAN_NAME, plan)
        set_old_trials_aside(search, records)
        write_records(output, records)
        lost = run_search(search, records, resources)
        result = _write_result(output, plan, search, [*read_records(output), *lost])
    show_closing(result)
    return _summarise(output, result, skipped=False)


def _check_trainings(base: TrainConfig, checked: Iterable[TrainConfig], prepared: PreparedReviews) -> PreparedReviews:
    """Raise what train_encoder would raise of the best trial's keys, before the first trial.

    Return the reviews with the labels that the training will have: those of the run of `start_from`, if there is one.
    """
    check_rows(prepared, "train", "validation")
    previous = load_previous_run(base, prepared)
    prepared = use_labels(prepared, previous.labels) if previous else prepared
    for config in checked:
        compute_class_weights(config, prepared.labels, prepared.rows_by_label["train"])
    difference = describe_other_steps(base.num_workers)
    if difference:
        log.notify(difference)
    return prepared


def _describe_search(config: TuneConfig, base: TrainConfig, inputs: list[Any]) -> dict[str, Any]:
    """Return the configuration of a search, and the fingerprint of it and the hashes of its inputs."""
    tune_settings = config.model_dump(mode="json", exclude={"output", "restart"})
    train_exclude = {"revision"} if base.revision is None else set()  # older searches keep their fingerprint
    train_settings = base.model_dump(mode="json", exclude=train_exclude)
    hashed = [tune_settings | {"search": use_first_names(tune_settings["search"])}, use_first_names(train_settings)]
    return {"config": [tune_settings, train_settings], "fingerprint": fingerprint([hashed, *inputs])}


def _find_same_search(
    output: Path, config: TuneConfig, base: TrainConfig, inputs: list[Any]
) -> tuple[TrainConfig, str | None, dict[str, Any]]:
    """Return the file of the same search in `output`, with any number of trials: its [train], name and content.

    It is tune.json of a finished search, search.json of an interrupted one. The name is None when there is no file.
    """
    bases = [base]
    if not (output / RECORDS_NAME).is_file():  # it may be of the last release, which had other defaults
        bases.append(with_earlier_defaults(base))
    for name in (MANIFEST_NAME, PLAN_NAME):
        existing = read_json(output / name) if (output / name).is_file() else {}
        for candidate in bases if "fingerprint" in existing else ():
            same_trials = config.model_copy(update={"trials": existing["config"][0].get("trials")})
            plan = _describe_search(same_trials, candidate, inputs)
            if plan["fingerprint"] == existing["fingerprint"]:
                return candidate, name, existing
    return base, None, {}


def _list_records(manifest: dict[str, Any]) -> list[TrialRecord]:
    """Return the trials in tune.json, for a search of a release that wrote no list of them."""
    return [TrialRecord(**trial) for trial in (*manifest.get("trials", ()), *manifest.get("failed", ()))]


def _write_result(output: Path, plan: dict[str, Any], search: Search, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Write best.toml and tune.json, and return the latter. DataError when no trial could be trained."""
    trials = [record for record in records if record.score is not None]
    failed = [record for record in records if record.score is None]
    for trial in failed:
        log.notify(f"a trial failed with {trial.keys}: {trial.error}", level=logging.WARNING)
    if not trials:
        raise DataError(f"All {len(failed)} trials failed. Correct what their warnings say and run the command again.")
    ranked = sorted(trials, key=lambda trial: trial.score or 0.0, reverse=True)
    best, trial_plan = ranked[0], search.plan
    keys = apply_keys(trial_plan.base, best.keys).model_dump(mode="json", exclude_none=True)
    revision = trial_plan.revisions.get(keys["model"])
    if trial_plan.base.start_from:
        del keys["model"]  # start_from sets it
    elif revision:
        keys["revision"] = revision
    (output / BEST_NAME).write_text(tomli_w.dumps({"train": keys}), encoding="utf-8")
    lists = {name: [record.describe() for record in some] for name, some in (("trials", trials), ("failed", failed))}
    manifest = {"best": best.describe()} | lists | summarise_trials(search, ranked) | plan
    write_json(output / MANIFEST_NAME, manifest)
    return manifest


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

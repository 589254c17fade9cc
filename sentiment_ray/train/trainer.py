"""Plans a training, has it run, and writes run.json; knows nothing of tensors."""

import logging
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import ray

from sentiment_ray import log
from sentiment_ray.cluster import connect
from sentiment_ray.errors import DataError
from sentiment_ray.manifest import (
    LOCK_DIRECTORY,
    find_finished_result,
    fingerprint,
    hash_file,
    read_json,
    remove_all,
    write_json,
)
from sentiment_ray.output_lock import hold_local_lock
from sentiment_ray.pretrained.runs import hash_reviews
from sentiment_ray.train.batch_size import CHOSEN_KEYS, choose_batch_size, keep_chosen
from sentiment_ray.train.checkpoint import (
    ATTEMPTS,
    Checkpoint,
    keep_only,
    list_checkpoints,
    rank_checkpoints,
)
from sentiment_ray.train.closing import show_closing, show_truncation
from sentiment_ray.train.config import TrainConfig, use_first_names, with_earlier_defaults
from sentiment_ray.train.continual import (
    PreviousRun,
    count_rows_by_label,
    load_previous_run,
    measure_before_and_after,
    notify_of_labels,
    use_labels,
)
from sentiment_ray.train.lengths import count_truncated_rows
from sentiment_ray.train.overlap import leave_out_held_out_rows
from sentiment_ray.train.preflight import (
    Inspected,
    check_rows,
    count_threads,
    cpus_per_worker,
    hash_model,
    with_absolute_paths,
)
from sentiment_ray.train.prepared import PreparedReviews, read_prepared, recognise_reviews
from sentiment_ray.train.ray_trainer import train_until_finished
from sentiment_ray.train.run_directory import finish_replacement, keep_only_progress, make_next, replace_result
from sentiment_ray.train.schedule import compute_class_weights
from sentiment_ray.train.shards import Part, count_rows, plan_parts, split_source
from sentiment_ray.train.step_log import STEPS_NAME
from sentiment_ray.train.task import Task
from sentiment_ray.train.teacher import find_teacher_rows, read_teacher_fingerprint
from sentiment_ray.train.trackers import METRICS_NAME, check_trackers, write_metrics
from sentiment_ray.versions import installed_versions

MANIFEST_NAME = "run.json"
PLAN_NAME = "config.json"
RESULT_NAMES = (METRICS_NAME, STEPS_NAME, "tensorboard", ATTEMPTS, PLAN_NAME)
"""What a run consists of, beside run.json."""
CHANGEABLE_KEYS = ("max_failures", "cpus_per_worker", "checkpoint_every_s", "track")
"""Keys that do not affect the trained model; they may change before a run resumes."""
NO_VALIDATION_ROWS = (
    "the validation split has no rows, so every checkpoint is measured on the rows that it was trained on. The figures "
    "say nothing about new reviews. Try the model on other reviews before you use it."
)
BEST_METRICS = ("macro_f1", "accuracy", "validation_loss", "rows")


def train_encoder(config: TrainConfig) -> dict[str, Any]:
    """Fine-tune an encoder on prepared reviews; return the best checkpoint and its metrics.

    An interrupted run with the same configuration resumes from its newest complete checkpoint. A finished run is
    skipped. ConfigError and DataError for wrong input come before any work.
    """
    inspected: Inspected = {}
    config = with_absolute_paths(config, inspected)
    output, prepared = Path(config.output), read_prepared(Path(config.prepared))
    check_rows(prepared, "train")
    finish_replacement(output, MANIFEST_NAME, RESULT_NAMES)
    earlier = _read_earlier(output)
    prepared = recognise_reviews(prepared, earlier)
    config = _keep_earlier_defaults(config, prepared, earlier)
    previous = load_previous_run(config, prepared)
    prepared = use_labels(prepared, previous.labels) if previous else prepared
    class_weights = compute_class_weights(config, prepared.labels, count_rows_by_label(config, prepared, previous))
    plan = _describe_run(config, prepared)
    existing = _find_result(config, plan)
    if existing and "best" in existing:
        return {"output": str(output), "best": existing["best"], "skipped": True}

    parts, teacher_rows_left_out = _plan_splits(config, prepared, previous)
    num_rows = count_rows(parts["train"])
    config = choose_batch_size(config, num_rows=num_rows, mean_tokens=prepared.estimate_mean_tokens())
    plan |= {"reviews": hash_reviews(prepared.directory), "truncated": count_truncated_rows(config, prepared)}
    plan |= {"teacher_rows_left_out": teacher_rows_left_out}
    show_truncation(plan)
    check_trackers(config)
    connect()
    cpus = cpus_per_worker(config)
    task = Task(prepared.labels, class_weights, num_rows, prepared.cleaning_steps, prepared.checkpoint_split)
    with hold_local_lock(output / LOCK_DIRECTORY, output):
        existing = _find_result(config, plan)
        if existing and "best" in existing:  # another process has just finished it
            return {"output": str(output), "best": existing["best"], "skipped": True}
        directory = _choose_directory(output, plan, existing)
        if existing is None:
            notify_of_labels(config, prepared, inspected)
        if prepared.checkpoint_split == "train":
            log.notify(NO_VALIDATION_ROWS, level=logging.WARNING)
        with keep_only_progress(directory, output, has_progress=lambda: bool(list_checkpoints(directory))):
            unfinished = _read_earlier(directory)
            config, num_threads = keep_chosen(config, unfinished), count_threads(config, cpus, unfinished)
            plan["chosen"] = {key: getattr(config, key) for key in CHOSEN_KEYS} | {"num_threads": num_threads}
            write_json(directory / PLAN_NAME, plan)
            train_until_finished(config, directory, task, parts, cpus, num_threads)
            checkpoints = rank_checkpoints(list_checkpoints(directory))
            if not checkpoints:
                raise DataError(
                    f"{directory / ATTEMPTS}: every checkpoint was damaged after it was written. Check the disk."
                )
            run = plan | _summarise(config, prepared, previous, directory, checkpoints)
            write_metrics(directory, run["history"])
            write_json(directory / MANIFEST_NAME, run)
            keep_only(directory, checkpoints[: config.keep_checkpoints])
        replace_result(output, MANIFEST_NAME, RESULT_NAMES)
    show_closing(run)
    return {"output": str(output), "best": run["best"], "skipped": False}


def _read_earlier(output: Path) -> dict[str, Any]:
    """Return run.json of the run in an output, config.json of an unfinished one, or nothing."""
    path = next((output / name for name in (MANIFEST_NAME, PLAN_NAME) if (output / name).is_file()), None)
    return read_json(path) if path else {}


def _find_result(config: TrainConfig, plan: dict[str, Any]) -> dict[str, Any] | None:
    """Return run.json of the same run in the output, or config.json if it is unfinished; as `find_finished_result`."""
    output = Path(config.output)
    is_finished = (output / MANIFEST_NAME).is_file()
    return find_finished_result(
        output,
        MANIFEST_NAME if is_finished else PLAN_NAME,
        plan["fingerprint"],
        restart=config.restart,
        own_files=None,
        describe_difference=partial(_describe_difference, plan=plan),
        remedy=f"To train it further and keep it, name another output and pass --start-from {shlex.quote(str(output))}."
        if is_finished
        else "",
    )


def _choose_directory(output: Path, plan: dict[str, Any], existing: dict[str, Any] | None) -> Path:
    """Return where a run is written: the output, or a directory in it while the output holds another run."""
    if existing is None:
        if (output / MANIFEST_NAME).is_file() or any((output / ATTEMPTS).glob("*/epoch-*/")):
            return make_next(output, plan["fingerprint"])
        remove_all(output, *RESULT_NAMES)
    output.mkdir(parents=True, exist_ok=True)
    return output


def _keep_earlier_defaults(config: TrainConfig, prepared: PreparedReviews, existing: dict[str, Any]) -> TrainConfig:
    """Return the configuration of an existing run that an earlier release made with its own defaults."""
    earlier = with_earlier_defaults(config)
    if earlier == config or "chosen" in existing:
        return config
    return earlier if _describe_run(earlier, prepared)["fingerprint"] == existing.get("fingerprint") else config


def _describe_run(config: TrainConfig, prepared: PreparedReviews) -> dict[str, Any]:
    """Return the configuration of a run, the hashes of its inputs, and the fingerprint of both.

    The fingerprint leaves out the keys that do not affect the trained model.
    """
    settings = config.model_dump(mode="json", exclude={"output", "restart"})
    if config.revision is None:  # runs from before this key keep their fingerprint
        del settings["revision"]
    made_from = {"prepared": prepared.compute_digest(), "model": hash_model(config.model, config.revision)}
    if config.start_from:
        made_from["earlier"] = hash_file(Path(config.start_from) / MANIFEST_NAME)
    if config.distill:
        made_from["teacher"] = read_teacher_fingerprint(config.distill)
    hashed = {key: value for key, value in settings.items() if key not in CHANGEABLE_KEYS}
    return {
        "config": settings,
        "made_from": made_from,
        "fingerprint": fingerprint([use_first_names(hashed), made_from]),
    }


def _describe_difference(existing: dict[str, Any], *, plan: dict[str, Any]) -> str:
    """Return the keys and inputs in which the existing run of an output differs from a plan."""
    before = {TrainConfig.renamed.get(key, key): value for key, value in existing["config"].items()}
    differences = [
        f"{key} = {before.get(key)!r}, now {value!r}"
        for key, value in plan["config"].items()
        if key not in CHANGEABLE_KEYS and before.get(key) != value
    ]
    made_from = existing["made_from"]
    differences += [f"another {name}" for name, digest in plan["made_from"].items() if made_from.get(name) != digest]
    return "; ".join(differences)


def _summarise(
    config: TrainConfig,
    prepared: PreparedReviews,
    previous: PreviousRun | None,
    output: Path,
    checkpoints: list[Checkpoint],
) -> dict[str, Any]:
    """Return the results in run.json: the best checkpoint, the history, the base model, the versions."""
    best = checkpoints[0]
    history = max(checkpoints, key=lambda checkpoint: checkpoint.position).progress.history
    metrics = best.progress.history[-1]
    return {
        "best": {
            "checkpoint": best.path.relative_to(output).as_posix(),
            "epoch": best.progress.epoch,
            "split": prepared.checkpoint_split,
            "metrics": {key: metrics[key] for key in BEST_METRICS},
        },
        "history": history,
        "base_model": ray.get(_measure_base_model.options(num_gpus=int(config.use_gpu)).remote(config, prepared)),
        "earlier": measure_before_and_after(config, prepared, previous, best.path) if previous else None,
        "rows_by_label": prepared.rows_by_label,
        "labels": list(prepared.labels),
        "steps": list(prepared.cleaning_steps),
        "versions": installed_versions("ray", "torch", "transformers", "tokenizers"),
    }


def _plan_splits(
    config: TrainConfig, prepared: PreparedReviews, previous: PreviousRun | None
) -> tuple[dict[str, list[Part]], dict[str, int] | None]:
    """Return the parts of files that are read for each split; DataError when a teacher's scores lack a column.

    Also return how many rows of a teacher are left out because of each held-out split; None without a teacher.
    """
    read = {"train": "train", "validation": prepared.checkpoint_split}
    sources = {name: [split_source(prepared.directory, split)] for name, split in read.items()}
    if previous and config.replay:
        sources["train"].append(split_source(previous.prepared.directory, "train", share=config.replay))
    left_out = None
    if config.distill:
        teacher_rows = find_teacher_rows(config.distill, prepared.labels)
        teacher_rows, left_out = leave_out_held_out_rows(teacher_rows, prepared)
        sources["train"].append(teacher_rows)
    return {split: plan_parts(some, seed=config.seed) for split, some in sources.items()}, left_out


@ray.remote
def _measure_base_model(config: TrainConfig, prepared: PreparedReviews) -> dict[str, Any]:
    """Measure the base model without training, on a sample of the measured split; with `use_gpu` on a GPU."""
    from sentiment_ray.train.baseline import base_model_metrics

    return base_model_metrics(
        config.model,
        prepared.measured_split,
        prepared.labels,
        max_tokens=config.max_tokens,
        revision=config.revision,
        use_gpu=config.use_gpu,
    )

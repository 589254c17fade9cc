"""Runs the training loop under Ray Train and records the run; knows nothing of tensors."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data
from pyarrow import parquet
from ray.train import CheckpointConfig, DataConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from sentiment_ray.cluster import connect
from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.manifest import fingerprint, finished_result, local_path, read_json, sha256_of_file, write_json
from sentiment_ray.model_config import FAMILIES
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.progress import show_progress
from sentiment_ray.versions import installed_versions

MANIFEST_NAME = "run.json"
PLAN_NAME = "config.json"
DATA_CPUS = 0.25
"""CPUs of a task that reads the splits: small, for the workers hold most of them."""


def train_encoder(config: TrainConfig) -> dict[str, Any]:
    """Fine-tune an encoder on prepared reviews and return where the best checkpoint is and how good.

    A run of the same configuration that was interrupted goes on from its last epoch; a finished one is left as it is.
    """
    config = _with_absolute_paths(config)
    output, prepared_path = Path(config.output), Path(config.prepared) / "prepared.json"
    prepared = read_json(prepared_path)
    settings = config.model_dump(mode="json", exclude={"output", "restart"})
    made_from = {"prepared": sha256_of_file(prepared_path)}
    wanted = fingerprint([settings, made_from])
    plan = {"config": settings, "made_from": made_from, "fingerprint": wanted}
    _check_rows(prepared, config)
    finished = _finished_or_same_plan(output, wanted, restart=config.restart)
    if finished:
        return {"output": str(output), "best": finished["best"], "skipped": True}

    connect()
    cpus = _cpus_per_worker(config)
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / PLAN_NAME, plan)
    with show_progress(config.epochs) as board:
        result = _trainer(config, prepared, cpus, board).fit()
    best, metrics = max(result.best_checkpoints, key=lambda pair: pair[1]["macro_f1"])
    epoch = metrics["history"][-1]
    run = plan | {
        "best": {
            "checkpoint": Path(best.path).name,
            "epoch": epoch["epoch"],
            "metrics": {key: epoch[key] for key in ("macro_f1", "accuracy", "rows")},
        },
        "history": result.metrics["history"],
        "base_model": ray.get(_base_model.remote(config.model_dump(mode="json"), prepared)),
        "labels": prepared["labels"],
        "versions": installed_versions("ray", "torch", "transformers", "tokenizers"),
    }
    write_json(output / MANIFEST_NAME, run)
    return {"output": str(output), "best": run["best"], "skipped": False}


def _trainer(config: TrainConfig, prepared: dict[str, Any], cpus: float, board: Any) -> TorchTrainer:
    output = Path(config.output)
    settings = {
        "config": config.model_dump(mode="json"),
        "labels": prepared["labels"],
        "train_rows": prepared["counts"]["train"],
        # Ray gives a worker with a fraction of a CPU one thread; torch gets as many as the fraction was meant for.
        "threads": None if config.use_gpu else math.ceil(cpus),
        "board": board,
    }
    options = ray.data.ExecutionOptions(preserve_order=True)
    return TorchTrainer(
        _worker_entry,
        train_loop_config=settings,
        scaling_config=ScalingConfig(
            num_workers=config.num_workers, use_gpu=config.use_gpu, resources_per_worker=_resources(config, cpus)
        ),
        run_config=RunConfig(
            name=output.name,
            storage_path=str(output.parent),
            failure_config=FailureConfig(max_failures=config.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="macro_f1"),
        ),
        datasets={split: _read_split(Path(config.prepared) / split) for split in ("train", "validation")},
        # Ray's equal split may drop rows; only training may lose a last one, validation counts every row.
        dataset_config=DataConfig(datasets_to_split=["train"], execution_options=options),
    )


def _worker_entry(settings: dict[str, Any]) -> None:
    """Import the loop on the worker, so that the driver needs no torch."""
    from sentiment_ray.train.loop import train_loop_per_worker

    train_loop_per_worker(settings)


@ray.remote
def _base_model(settings: dict[str, Any], prepared: dict[str, Any]) -> dict[str, Any]:
    """Measure the base model as it came, on a sample of the test split (validation where there is no test)."""
    from sentiment_ray.train.baseline import base_model_metrics

    config = TrainConfig(**settings)
    split = "test" if prepared["counts"]["test"] else "validation"
    return base_model_metrics(
        config.model, Path(config.prepared) / split, prepared["labels"], max_tokens=config.max_tokens
    )


def _read_split(directory: Path) -> ray.data.Dataset:
    """Return the texts and labels of a split, part by part in the order of their names.

    Not `ray.data.read_parquet`: in Ray 2.60 its step that lists files asks for a whole CPU whatever it is told, and
    beside workers that hold most of a small machine it waits for ever.
    """
    parts = [{"path": str(part)} for part in sorted(directory.glob("*.parquet"))]
    return ray.data.from_items(parts).map_batches(_read_parts, batch_size=1, batch_format="pyarrow", num_cpus=DATA_CPUS)


def _read_parts(batch: pa.Table) -> Iterator[pa.Table]:
    for path in batch.column("path").to_pylist():
        file = parquet.ParquetFile(path)
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=["text", "label"])


def _with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Make local paths absolute; a model that is no local directory is taken as a name on the Hub."""
    model = config.model
    if Path(model).expanduser().exists() or model.startswith((".", "/", "~")) or model.count("/") > 1:
        model = str(local_path(model, "model"))
        if not (Path(model) / "config.json").is_file():
            raise ConfigError(
                f"model = {config.model!r} is no model directory: there is no config.json. Give a directory with "
                "config.json, tokenizer.json and model.safetensors (python -m jobs.fetch_samples brings one)."
            )
        kind = read_json(Path(model) / "config.json").get("model_type")
        if kind not in FAMILIES:
            raise ConfigError(
                f"model = {config.model!r} is of type {kind!r}, of which no bundle can be made. "
                f"Choose one of: {', '.join(FAMILIES)}."
            )
    paths = {
        "output": str(local_path(config.output, "output")),
        "prepared": str(local_path(config.prepared, "prepared")),
    }
    return config.model_copy(update={"model": model, **paths})


def _check_rows(prepared: dict[str, Any], config: TrainConfig) -> None:
    counts = prepared["counts"]
    for split, needed in (("train", config.num_workers), ("validation", 1)):
        if counts[split] < needed:
            raise DataError(
                f"{config.prepared}: the {split} split has {counts[split]} rows, {needed} or more are needed. "
                "Prepare with a larger share for it, or train with fewer workers."
            )


def _finished_or_same_plan(output: Path, wanted: str, *, restart: bool) -> dict[str, Any] | None:
    """Return a finished run of this plan, or None with `output` holding nothing else than a run of this plan."""
    manifest = MANIFEST_NAME if (output / MANIFEST_NAME).is_file() else PLAN_NAME
    found = finished_result(output, manifest, wanted, restart=restart)
    if found is None and output.exists():
        shutil.rmtree(output)
    return found if manifest == MANIFEST_NAME else None


def _cpus_per_worker(config: TrainConfig) -> float:
    """Return the CPUs of each worker; ConfigError when the cluster can never provide them."""
    total = ray.cluster_resources()
    available = total.get("CPU", 0)
    largest = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
    cpus = config.cpus_per_worker or math.floor(75 * min(available / config.num_workers, largest)) / 100
    wanted = cpus * config.num_workers + DATA_CPUS
    if not cpus or wanted > available or cpus > largest:
        raise ConfigError(
            f"num_workers = {config.num_workers} with cpus_per_worker = {cpus:g} and {DATA_CPUS} for reading need "
            f"{wanted:g} CPUs; the cluster has {available:g}, its largest node {largest:g}. "
            "Lower one of them (fractions are allowed), or start more nodes."
        )
    if config.use_gpu and config.num_workers > total.get("GPU", 0):
        raise ConfigError(
            f"use_gpu with num_workers = {config.num_workers} needs as many GPUs; "
            f"the cluster has {total.get('GPU', 0):g}. Start fewer workers, or add GPU nodes."
        )
    return cpus


def _resources(config: TrainConfig, cpus: float) -> dict[str, float]:
    return {"CPU": cpus, "GPU": 1} if config.use_gpu else {"CPU": cpus}

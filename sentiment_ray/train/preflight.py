"""What is checked before a training costs anything: paths, the model, rows, room on the cluster; starts nothing."""

import math
from pathlib import Path
from typing import Any

import ray

from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.manifest import local_path, read_json
from sentiment_ray.model_config import FAMILIES
from sentiment_ray.train.config import TrainConfig


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Make local paths absolute; a model that is no local directory is taken as a name on the Hub.

    An earlier run stands for the model that it made. ConfigError for a model of which no bundle can be made.
    """
    if config.start_from:
        config = _from_earlier_run(config, local_path(config.start_from, "start_from"))
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


def check_rows(prepared: dict[str, Any], config: TrainConfig) -> None:
    """Raise DataError for a split that nothing can be learned or measured on."""
    counts = prepared["counts"]
    for split in ("train", "validation"):
        if not counts[split]:
            raise DataError(
                f"{config.prepared}: the {split} split has {counts[split]} rows. Prepare with a larger share for it."
            )


def _from_earlier_run(config: TrainConfig, run: Path) -> TrainConfig:
    if (run / "bundle.json").is_file():
        raise ConfigError(
            f"start_from = {str(run)!r} is a bundle, whose ONNX files cannot be trained on. Name the run it is of."
        )
    checkpoint = run / read_json(run / "run.json")["best"]["checkpoint"]
    return config.model_copy(update={"start_from": str(run), "model": str(checkpoint)})


def cpus_per_worker(config: TrainConfig) -> float:
    """Return the CPUs of each worker; ConfigError when the cluster can never provide them."""
    total = ray.cluster_resources()
    available = total.get("CPU", 0)
    largest = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
    cpus = config.cpus_per_worker or math.floor(75 * min(available / config.max_workers, largest)) / 100
    wanted = cpus * config.min_workers
    if not cpus or wanted > available or cpus > largest:
        raise ConfigError(
            f"num_workers = {config.min_workers} with cpus_per_worker = {cpus:g} need {wanted:g} CPUs; "
            f"the cluster has {available:g}, its largest node {largest:g}. "
            "Lower one of them (fractions are allowed), or start more nodes."
        )
    if config.use_gpu and config.min_workers > total.get("GPU", 0):
        raise ConfigError(
            f"use_gpu with num_workers = {config.min_workers} needs as many GPUs; "
            f"the cluster has {total.get('GPU', 0):g}. Start fewer workers, or add GPU nodes."
        )
    return cpus


def resources_of(config: TrainConfig, cpus: float) -> dict[str, float]:
    """Return what Ray must keep for a worker."""
    return {"CPU": cpus, "GPU": 1} if config.use_gpu else {"CPU": cpus}

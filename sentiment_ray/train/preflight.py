"""What is checked before a training costs anything: paths, the model, rows, room on the cluster; starts nothing."""

import math
from pathlib import Path
from typing import Any

import ray

from sentiment_ray.bundle.model_config import check_encoder
from sentiment_ray.errors import ConfigError, DataError, require_extra
from sentiment_ray.manifest import fingerprint, hash_file, local_path, read_json
from sentiment_ray.train.config import TrainConfig

TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json")
"""Files of which one makes a fast tokenizer; of SentencePiece's alone none can be made without more libraries."""
OF_A_MODEL = (
    "*.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.*", "merges.txt",
)  # fmt: skip
"""Files of a model's directory that decide what it is."""


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Make local paths absolute; a model that is no local directory is taken as a name on the Hub.

    An earlier run stands for the model that it made. ConfigError for a model of which no bundle can be made.
    """
    if config.start_from:
        config = _from_earlier_run(config, local_path(config.start_from, "start_from"))
    model = absolute_model(config.model)
    if Path(model).is_absolute():
        if not (Path(model) / "config.json").is_file():
            raise ConfigError(
                f"model = {config.model!r} is no model directory: there is no config.json. Give a directory with "
                "config.json, tokenizer.json and model.safetensors (python -m jobs.fetch_samples brings one)."
            )
        _check_model(config, Path(model))
    paths = {
        "output": str(local_path(config.output, "output")),
        "prepared": str(local_path(config.prepared, "prepared")),
    }
    return config.model_copy(update={"model": model, **paths})


def absolute_model(model: str) -> str:
    """Return the absolute path of a local model; a name on the Hub as it is."""
    if Path(model).expanduser().exists() or model.startswith((".", "/", "~")) or model.count("/") > 1:
        return str(local_path(model, "model"))
    return model


def _check_model(config: TrainConfig, model: Path) -> None:
    """ConfigError for a local encoder that cannot be trained so, or of which no bundle can be made."""
    told = read_json(model / "config.json")
    check_encoder(told, config.model, max_tokens=config.max_tokens, frozen_layers=config.frozen_layers)
    if not any(model.glob("*.safetensors")):
        raise ConfigError(f"model = {config.model!r} holds no *.safetensors. Save it with safe_serialization=True.")
    if not any(path for name in TOKENIZERS for path in model.glob(name)):
        raise ConfigError(f"model = {config.model!r} holds no tokenizer.json. Save its tokenizer there as well.")
    if config.lora_rank:
        require_extra("lora", "peft")


def digest_of_model(model: str) -> str | None:
    """Return a hash of a local model's weights, configuration and tokenizer; None for a name on the Hub."""
    if not Path(model).is_absolute():
        return None
    files = [path for name in OF_A_MODEL for path in Path(model).glob(name) if path.is_file()]
    return fingerprint({path.name: hash_file(path) for path in files})


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
    if run.resolve() == local_path(config.output, "output").resolve():
        raise ConfigError(f"output = {config.output!r} is the run of start_from, which it would replace. Name another.")
    checkpoint = run / read_json(run / "run.json")["best"]["checkpoint"]
    return config.model_copy(update={"start_from": str(run), "model": str(checkpoint)})


def cpus_per_worker(config: TrainConfig) -> float:
    """Return the CPUs of each worker; ConfigError when the cluster can never provide them."""
    total = ray.cluster_resources()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if config.use_gpu and config.min_workers > total.get("GPU", 0):
        raise ConfigError(
            f"use_gpu with num_workers = {config.min_workers} needs as many GPUs; "
            f"the cluster has {total.get('GPU', 0):g}. Start fewer workers, or add GPU nodes."
        )
    cpus = config.cpus_per_worker or math.floor(75 * _largest_part(nodes, config)) / 100
    if not cpus or _num_fitting(nodes, cpus, config) < config.min_workers:
        of_nodes = ", ".join(f"{node.get('CPU', 0.0):g}" for node in nodes)
        raise ConfigError(
            f"num_workers = {config.min_workers} with cpus_per_worker = {cpus:g} does not fit: "
            f"the cluster has {total.get('CPU', 0):g} CPUs, by node {of_nodes}. "
            "Lower one of them (fractions are allowed), or start more nodes."
        )
    return cpus


def missing_room(config: TrainConfig, cpus: float) -> str | None:
    """Return what a cluster that lost nodes lacks for the training to go on; None when there is room."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = _num_fitting(nodes, cpus, config)
    if room >= config.min_workers:
        return None
    return (
        f"waiting: the cluster has room for {room} of {config.min_workers} workers. Add a node, or press Ctrl-C and "
        "give the same command later: it goes on."
    )


def _num_fitting(nodes: list[dict[str, float]], cpus: float, config: TrainConfig) -> int:
    """Return how many workers of so many CPUs, and of a GPU each if they use one, the nodes have room for.

    For a range of workers Ray divides floats (2.60, `elastic.py`), so that 4 CPUs hold four workers of 0.8; else five.
    """
    rounding = 1e-9 if config.min_workers == config.max_workers else 0.0
    fitting = (
        min((node.get("CPU", 0.0) + rounding) // cpus, node.get("GPU", 0.0) if config.use_gpu else math.inf)
        for node in nodes
    )
    return int(sum(fitting))


def _largest_part(nodes: list[dict[str, float]], config: TrainConfig) -> float:
    """Return the most CPUs that each worker can have when there are as many as are wanted; 0 when they never fit."""
    parts = {node.get("CPU", 0.0) / count for node in nodes for count in range(1, config.max_workers + 1)}
    for wanted in (config.max_workers, config.min_workers):
        fitting = [part for part in parts if part and _num_fitting(nodes, part * (1 - 1e-9), config) >= wanted]
        if fitting:
            return max(fitting)
    return 0.0


def resources_of(config: TrainConfig, cpus: float) -> dict[str, float]:
    """Return what Ray must keep for a worker."""
    return {"CPU": cpus, "GPU": 1} if config.use_gpu else {"CPU": cpus}

"""Checks a training before it starts: its paths, its model, its rows, and the room on the cluster."""

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray

from sentiment_ray import log
from sentiment_ray.bundle.manifest import MAX_MODEL_BYTES
from sentiment_ray.bundle.model_config import check_encoder
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.config.sections import SectionConfig
from sentiment_ray.errors import ConfigError, DataError, require_extra
from sentiment_ray.manifest import fingerprint, hash_file
from sentiment_ray.paths import local_path
from sentiment_ray.pretrained.directory import explain_no_tokenizer
from sentiment_ray.pretrained.fit import count_encoder_values
from sentiment_ray.pretrained.open import open_model
from sentiment_ray.pretrained.runs import find_checkpoint, read_run
from sentiment_ray.pretrained.weights import find_unusable_number
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.prepared import PreparedReviews

MODEL_FILES = (
    "*.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.*", "merges.txt",
)  # fmt: skip
"""Files of a model whose content its hash covers."""
HUB_PAGE = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)|hf:(?://)?([\w.-]+/[\w.-]+)"
)
"""The address of a model's page, or of a file on it."""
TRUNCATION_KEYS = ("truncation", "pooling", "window_overlap", "max_windows")

Inspected = dict[tuple[str, str | None], dict[str, Any]]
"""The config.json of models that were read, by their name and their commit."""


def with_absolute_paths(config: TrainConfig, inspected: Inspected | None = None) -> TrainConfig:
    """Return a configuration that means the same on every node: absolute local paths, and a commit as revision.

    A model that is not a local directory is a name on the Hub. With `start_from`, the model is the best checkpoint of
    that run. ConfigError for a model that is broken or could do harm, or that no bundle can be made from. All of it is
    read for that, unless it is in `inspected`, to which it is added.
    """
    if config.start_from:
        config = _from_earlier_run(config, local_path(config.start_from, "start_from"))
    model, revision = absolute_model(config.model), None
    if Path(model).is_absolute():
        if config.revision:
            raise ConfigError(
                f"revision = {config.revision!r} is for a model on the Hub; model = {config.model!r} is a directory "
                "here. Leave revision out."
            )
    else:
        from sentiment_ray.pretrained.hub import find_commit

        revision = find_commit(model, config.revision)
    inspected = {} if inspected is None else inspected
    if (model, revision) not in inspected:
        inspected[model, revision] = _inspect_model(model, revision)
    check_encoder(
        inspected[model, revision], config.model, max_tokens=config.max_tokens, frozen_layers=config.frozen_layers
    )
    if config.lora_rank:
        require_extra("lora", "peft")
    paths = {
        "output": str(local_path(config.output, "output")),
        "prepared": str(local_path(config.prepared, "prepared")),
    }
    return config.model_copy(update={"model": model, "revision": revision, **paths})


def check_models(configs: Mapping[str, SectionConfig]) -> None:
    """Raise what is wrong with the base model and the bundles of a pipeline, by section, that no stage of it makes."""
    train, export = configs.get("train"), configs.get("export")
    if isinstance(train, TrainConfig):
        with_absolute_paths(train)
    made = local_path(getattr(export, "output", ""), "output") if export else None
    for config in configs.values():
        for key in ("bundle", "against"):
            bundle = getattr(config, key, None)
            if bundle and local_path(bundle, key) != made:
                open_bundle(bundle, require_signature=getattr(config, "require_signature", None))


def absolute_model(model: str) -> str:
    """Return the absolute path of a local model; a name on the Hub as it is. ConfigError for an address of the Hub."""
    page = HUB_PAGE.match(model)
    if page:
        raise ConfigError(f"model = {model!r} is a page of the Hub. Name the model alone: {page[1] or page[2]!r}.")
    name, _, revision = model.partition("@")
    if revision and not os.path.lexists(os.path.expanduser(model)) and name.count("/") == 1:
        raise ConfigError(f"model = {model!r} has a revision in its name. Pass --model {name} --revision {revision}.")
    if os.path.lexists(os.path.expanduser(model)) or model.startswith((".", "/", "~")) or model.count("/") > 1:
        return str(local_path(model, "model"))
    return model


def _inspect_model(model: str, revision: str | None) -> dict[str, Any]:
    """Read all files of a model and return its config.json; ConfigError for one that is broken or could do harm."""
    with open_model(model, revision) as opened:
        num_bytes = 4 * count_encoder_values(opened.tensors)
        if num_bytes > MAX_MODEL_BYTES:
            raise ConfigError(
                f"{opened.name}: the encoder has {num_bytes:,} bytes in fp32, more than the {MAX_MODEL_BYTES:,} bytes "
                "of an ONNX file, so no bundle can be made of it. Choose a smaller model."
            )
        if not opened.has_tokenizer:
            raise ConfigError(f"{opened.name}: {opened.root} {explain_no_tokenizer(opened.root)}")
        for path, tensors in opened.weights.items():
            name = find_unusable_number(path, tensors)
            if name:
                raise ConfigError(
                    f"{opened.name}: {path}: the tensor {name} holds NaN or an infinite number, so nothing can be "
                    "learned from it. Take the model from its maker again, or choose another."
                )
        if opened.links:
            links = ", ".join(f"{name} -> {target}" for name, target in opened.links.items())
            log.notify(f"{opened.name} holds links to files elsewhere, which are read: {links}")
        return opened.config


def hash_model(model: str, revision: str | None = None) -> str | None:
    """Return a hash of a local model's weights, configuration and tokenizer; for a name on the Hub its `revision`."""
    if not Path(model).is_absolute():
        return revision
    files = [path for name in MODEL_FILES for path in Path(model).glob(name) if path.is_file()]
    return fingerprint({path.name: hash_file(path) for path in files})


def check_rows(prepared: PreparedReviews, *splits: str) -> None:
    """Raise DataError for one of some splits that nothing can be learned or measured on."""
    for split in splits:
        if not prepared.num_rows[split]:
            raise DataError(f"{prepared.directory}: the {split} split has 0 rows. Prepare with a larger share for it.")


def _from_earlier_run(config: TrainConfig, run: Path) -> TrainConfig:
    if (run / "bundle.json").is_file():
        raise ConfigError(
            f"start_from = {str(run)!r} is a bundle, whose ONNX files cannot be trained on. Name the run it is of."
        )
    if run.resolve() == local_path(config.output, "output").resolve():
        raise ConfigError(f"output = {config.output!r} is the run of start_from, which it would replace. Name another.")
    if config.revision:
        raise ConfigError(
            f"revision = {config.revision!r} is for a model on the Hub, not for start_from. Leave it out."
        )
    earlier = read_run(run)
    checkpoint = find_checkpoint(run, earlier)
    if config.model and absolute_model(config.model) != str(checkpoint):
        raise ConfigError(
            f"model = {config.model!r} and start_from = {str(run)!r} each name what the training starts from. Remove "
            "one of them."
        )
    taken_over = {key: earlier["config"][key] for key in _list_missing_keys(config) if key in earlier["config"]}
    return config.model_copy(update={**taken_over, "start_from": str(run), "model": str(checkpoint)})


def _list_missing_keys(config: TrainConfig) -> tuple[str, ...]:
    """Return the keys, not given, that say what a model reads of a text; an earlier run has their values.

    None of them if one is given: the others are then meant for that one.
    """
    keys = ("max_tokens",) if "max_tokens" not in config.model_fields_set else ()
    return keys if config.model_fields_set & {*TRUNCATION_KEYS} else (*keys, *TRUNCATION_KEYS)


def cpus_per_worker(config: TrainConfig) -> float:
    """Return the CPUs of each worker; ConfigError when the cluster can never provide them."""
    total = ray.cluster_resources()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if config.use_gpu and config.min_workers > total.get("GPU", 0):
        raise ConfigError(
            f"use_gpu with num_workers = {config.min_workers} needs as many GPUs; "
            f"the cluster has {total.get('GPU', 0):g}. Start fewer workers, or add GPU nodes."
        )
    cpus = config.cpus_per_worker or math.floor(75 * _find_largest_cpu_share(nodes, config)) / 100
    if not cpus or _count_fitting_workers(nodes, cpus, config) < config.min_workers:
        of_nodes = ", ".join(f"{node.get('CPU', 0.0):g}" for node in nodes)
        raise ConfigError(
            f"num_workers = {config.min_workers} with cpus_per_worker = {cpus:g} does not fit: "
            f"the cluster has {total.get('CPU', 0):g} CPUs, by node {of_nodes}. "
            "Lower one of the two keys (fractions are allowed), or start more nodes."
        )
    return cpus


def count_threads(config: TrainConfig, cpus: float, unfinished: Mapping[str, Any]) -> int | None:
    """Return the threads of each worker with `cpus` CPUs; None with a GPU, where torch chooses.

    `unfinished` is the config.json of a run that resumes, else it is empty. Such a run keeps its number of threads on
    a larger cluster, unless its `cpus_per_worker` is changed. Sums are divided among the threads, so another number
    gives weights with other last bits.
    """
    if config.use_gpu:
        return None
    num_threads = math.ceil(cpus)  # Ray gives a worker with a fraction of a CPU one thread
    kept = unfinished.get("chosen", {}).get("num_threads")
    if kept and unfinished["config"]["cpus_per_worker"] == config.cpus_per_worker:
        return min(num_threads, int(kept))
    return num_threads


def missing_room(config: TrainConfig, cpus: float) -> str | None:
    """Return a message for the user when the cluster has lost nodes and has no room for the training; else None."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = _count_fitting_workers(nodes, cpus, config)
    if room >= config.min_workers:
        return None
    return (
        f"waiting: the cluster has room for {room} of {config.min_workers} workers. Add a node, or press Ctrl-C and "
        "give the same command later: it goes on."
    )


def _count_fitting_workers(nodes: list[dict[str, float]], cpus: float, config: TrainConfig) -> int:
    """Return how many workers the nodes have room for. Each needs `cpus` CPUs, and one GPU with `use_gpu`.

    For a range of workers Ray 2.60 divides floats without rounding (`elastic.py`): 4 CPUs hold four workers of 0.8.
    For a fixed number it rounds, and they hold five.
    """
    rounding = 1e-9 if config.min_workers == config.max_workers else 0.0
    fitting = (
        min((node.get("CPU", 0.0) + rounding) // cpus, node.get("GPU", 0.0) if config.use_gpu else math.inf)
        for node in nodes
    )
    return int(sum(fitting))


def _find_largest_cpu_share(nodes: list[dict[str, float]], config: TrainConfig) -> float:
    """Return the most CPUs that each worker can have if all of them start; 0 when they cannot all start."""
    shares = {node.get("CPU", 0.0) / count for node in nodes for count in range(1, config.max_workers + 1)}
    for wanted in (config.max_workers, config.min_workers):
        fitting = [
            share for share in shares if share and _count_fitting_workers(nodes, share * (1 - 1e-9), config) >= wanted
        ]
        if fitting:
            return max(fitting)
    return 0.0


def worker_resources(config: TrainConfig, cpus: float) -> dict[str, float]:
    """Return the resources that Ray reserves for a worker."""
    return {"CPU": cpus, "GPU": 1} if config.use_gpu else {"CPU": cpus}

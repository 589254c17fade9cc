"""A run to a bundle, whole or not at all: graph, optimise, quantise, gate, manifest; knows nothing of Ray."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet
from tqdm import tqdm

from export.config import ExportConfig
from export.gate import TorchEngine, measure
from export.graph import export_graph
from export.model_card import model_card
from export.optimize import optimize
from export.quantize import quantize, quantize_weights
from sentiment_ray.bundle import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    Default,
    Manifest,
    Variant,
    bundle_id_of,
    describe_bundle_files,
    verify_bundle,
)
from sentiment_ray.encoding import TextEncoder, load_encoder
from sentiment_ray.errors import ConfigError, DataError, GateError
from sentiment_ray.labels import label2id
from sentiment_ray.manifest import (
    fingerprint,
    finished_result,
    local_path,
    new_directory,
    read_json,
    sha256_of_file,
    write_json,
)
from sentiment_ray.model_config import check_model_files
from sentiment_ray.predictor import score_texts
from sentiment_ray.profile import profile_of
from sentiment_ray.versions import installed_versions

FILES = {
    "fp32": "onnx/model.onnx",
    "optimized": "onnx/model_optimized.onnx",
    "int8": "onnx/model_quantized.onnx",
    "int8_weights": "onnx/model_quantized_weights.onnx",
}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def export_bundle(config: ExportConfig) -> dict[str, Any]:
    """Export the best checkpoint of a run as a bundle of ONNX files that were compared with it, and return where.

    GateError when the required variant misses its bounds: then no bundle is written. Other variants that miss are left
    out, with their figures in the manifest's `evaluation`.
    """
    output, run_path = local_path(config.output, "output"), local_path(config.run, "run")
    run = read_json(run_path / "run.json")
    checkpoint = run_path / (config.checkpoint or run["best"]["checkpoint"])
    if not (checkpoint / "model.safetensors").is_file():
        raise ConfigError(f"checkpoint = {str(checkpoint)!r}: model.safetensors is missing there. Train the run again.")
    settings = config.model_dump(mode="json", exclude={"output", "restart", "run"})
    made_from = {"run": run["fingerprint"], "checkpoint": sha256_of_file(checkpoint / "model.safetensors")}
    wanted = fingerprint([settings, made_from])
    finished = finished_result(output, MANIFEST_NAME, wanted, restart=config.restart)
    if finished:
        return _result(output, finished, skipped=True)
    with new_directory(output) as directory:
        manifest = _build(config, run, checkpoint, directory, wanted)
        write_json(directory / MANIFEST_NAME, manifest.model_dump(mode="json"))
        verify_bundle(directory)
    return _result(output, manifest.model_dump(mode="json"), skipped=False)


def _build(config: ExportConfig, run: dict[str, Any], checkpoint: Path, directory: Path, wanted: str) -> Manifest:
    """Write every file of the bundle but its manifest into `directory`, and return the manifest."""
    labels, max_tokens = tuple(run["labels"]), run["config"]["max_tokens"]
    (directory / "onnx").mkdir()
    shutil.copy(checkpoint / "config.json", directory)
    for name in TOKENIZER_FILES:
        if (checkpoint / name).is_file():
            shutil.copy(checkpoint / name, directory)
    contents = {file.name: file.read_bytes() for file in directory.glob("*.json")}
    check_model_files(contents, checkpoint, labels=labels, max_tokens=max_tokens)
    encoder = load_encoder(directory / "tokenizer.json", max_tokens=max_tokens)
    measured, profiles = _write_variants(config, run, checkpoint, directory, encoder)
    variants = {name: variant for name, variant in measured.items() if _has_passed(variant)}
    missed = {name: variant.gate for name, variant in measured.items() if name not in variants}
    if config.required not in variants:
        raise GateError(
            f"The required variant {config.required!r} missed its gate, so there is no bundle: "
            f"{missed[config.required]}. [export] min_agreement, max_mean_difference and "
            "max_macro_f1_drop are the bounds."
        )
    for name in missed:
        (directory / FILES[name]).unlink()
    best = _fastest(variants)
    training = {"best": run["best"], "model": run["config"]["model"], "made_from": run["made_from"]}
    (directory / "README.md").write_text(model_card(labels, max_tokens, training, variants, best), encoding="utf-8")
    files = describe_bundle_files(directory)
    return Manifest(
        format_version=FORMAT_VERSION,
        bundle_id=bundle_id_of(files, labels, max_tokens, ()),
        labels=labels,
        max_tokens=max_tokens,
        steps=(),
        thresholds={},
        variants=variants,
        defaults={"cpu": best},
        files=files,
        training=training,
        evaluation={"left_out": missed},
        reference=profiles[best.variant][best.engine],
        versions=installed_versions(
            "torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime", "openvino"
        ),
        fingerprint=wanted,
    )


def _write_variants(
    config: ExportConfig, run: dict[str, Any], checkpoint: Path, directory: Path, encoder: TextEncoder
) -> tuple[dict[str, Variant], dict[str, dict[str, dict[str, Any]]]]:
    """Write the configured ONNX files and return how each compares with torch on held-out reviews.

    Beside that, the profile of those reviews as each variant scores them, by variant and engine.
    """
    labels = tuple(run["labels"])
    texts, label_ids = _held_out_reviews(Path(run["config"]["prepared"]), labels, config.gate_rows)
    variants: dict[str, Variant] = {}
    profiles: dict[str, dict[str, dict[str, Any]]] = {}
    plain = directory / FILES["fp32"]
    with tqdm(total=2 * len(config.variants) + 1, desc="exporting", unit="step", disable=None, leave=False) as bar:
        reference = score_texts(TorchEngine(checkpoint), encoder, texts)
        bar.update()
        export_graph(checkpoint, plain)
        for name in config.variants:
            if name == "optimized":
                optimize(plain, checkpoint, directory / FILES[name])
            elif name == "int8":
                quantize(plain, checkpoint, directory / FILES[name])
            elif name == "int8_weights":
                quantize_weights(plain, directory / FILES[name])
            bar.update()
            gate, bench, scores = measure(directory / FILES[name], encoder, texts, label_ids, reference, config)
            precision = "int8" if name.startswith("int8") else "fp32"
            variants[name] = Variant(file=FILES[name], precision=precision, gate=gate, bench=bench)
            profiles[name] = {engine: profile_of(texts, found, labels) for engine, found in scores.items()}
            bar.update()
    if "fp32" not in config.variants:
        plain.unlink()
    return variants, profiles


def _held_out_reviews(prepared: Path, labels: tuple[str, ...], num_rows: int) -> tuple[list[str], np.ndarray]:
    """Return texts and int64 label ids of up to `num_rows` validation reviews, spread evenly over the split."""
    if not (prepared / "validation").is_dir():
        raise DataError(f"{prepared}/validation is missing: the gate compares on held-out reviews. Prepare them again.")
    table = parquet.read_table(prepared / "validation", columns=["text", "label"])
    rows = np.unique(np.linspace(0, len(table) - 1, num=min(num_rows, len(table))).astype(np.int64))
    table, ids = table.take(rows), label2id(labels)
    label_ids = np.array([ids[label] for label in table.column("label").to_pylist()], dtype=np.int64)
    return table.column("text").to_pylist(), label_ids


def _has_passed(variant: Variant) -> bool:
    return any(gate["passed"] for gate in variant.gate.values())


def _fastest(variants: dict[str, Variant]) -> Default:
    """Return the engine and variant with the most rows a second among those that passed."""
    choices = [
        (bench["rows_per_s"], engine, name)
        for name, variant in variants.items()
        for engine, bench in variant.bench.items()
        if variant.gate[engine]["passed"]
    ]
    _, engine, name = max(choices)
    return Default(engine=engine, variant=name)


def _result(output: Path, manifest: dict[str, Any], *, skipped: bool) -> dict[str, Any]:
    return {
        "output": str(output),
        "bundle_id": manifest["bundle_id"],
        "variants": list(manifest["variants"]),
        "default": manifest["defaults"]["cpu"],
        "skipped": skipped,
    }

"""A run to a bundle, whole or not at all: calibrate, graph, variants, gate, default; knows nothing of Ray."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from export.benchmark import BENCH_TEXTS, Pair, default_of, race, rate_of
from export.calibration import fold_temperature
from export.config import VARIANTS, ExportConfig
from export.gate import check
from export.graph import export_graph
from export.held_out import HeldOut, hold_out
from export.model_card import model_card
from export.push import push_bundle
from export.triton import write_triton
from export.variants import FILES, PRECISIONS, write_variant
from sentiment_ray.bundle.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    Default,
    Manifest,
    SelfTest,
    Variant,
    compute_bundle_id,
)
from sentiment_ray.bundle.model_config import check_model_files, refuse_kernels
from sentiment_ray.bundle.open import describe_bundle_files, open_bundle, verify_bundle
from sentiment_ray.errors import ConfigError, DataError, GateError
from sentiment_ray.inference.drift import profile_of
from sentiment_ray.inference.engines import available_engines, load_engine
from sentiment_ray.inference.predictor import Scores
from sentiment_ray.manifest import (
    fingerprint,
    finished_result,
    local_path,
    new_directory,
    read_json,
    sha256_of_file,
    write_json,
)
from sentiment_ray.sampling import evenly_spaced_rows
from sentiment_ray.text.encoding import TextEncoder, load_encoder
from sentiment_ray.text.truncation import truncation_of
from sentiment_ray.versions import installed_versions

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
SELF_TEST_TEXTS, SELF_TEST_LENGTHS = 32, 4


def export_bundle(config: ExportConfig) -> dict[str, Any]:
    """Export the best checkpoint of a run as a bundle of ONNX files that were compared with it, and return where.

    GateError when the required variant misses its bounds: then no bundle is written. Other variants that miss are left
    out, with their figures in the manifest's `evaluation`.
    """
    refuse_kernels()
    output, run_path = local_path(config.output, "output"), local_path(config.run, "run")
    run = read_json(run_path / "run.json")
    checkpoint = run_path / (config.checkpoint or run["best"]["checkpoint"])
    if not (checkpoint / "model.safetensors").is_file():
        raise ConfigError(f"checkpoint = {str(checkpoint)!r}: model.safetensors is missing there. Train the run again.")
    settings = config.model_dump(mode="json", exclude={"output", "restart", "run", "triton", "push"})
    made_from = {"run": run["fingerprint"], "checkpoint": sha256_of_file(checkpoint / "model.safetensors")}
    wanted = fingerprint([settings, made_from])
    finished = finished_result(output, MANIFEST_NAME, wanted, restart=config.restart)
    if not finished:
        with new_directory(output) as directory:
            manifest = _build(config, run, checkpoint, directory, wanted)
            write_json(directory / MANIFEST_NAME, manifest.model_dump(mode="json"))
            verify_bundle(directory)
    bundle = open_bundle(output)
    if config.triton:
        write_triton(bundle, local_path(config.triton, "triton"), restart=config.restart)
    if config.push:
        push_bundle(bundle, config.push)
    return _result(output, bundle.manifest, skipped=finished is not None)


@dataclass
class Measured:
    """What each pair of variant and engine gave: its gate, texts a second, scores of the reviews and of the suite."""

    gates: dict[Pair, dict[str, Any]] = field(default_factory=dict)
    rates: dict[Pair, float] = field(default_factory=dict)
    scores: dict[Pair, Scores] = field(default_factory=dict)
    case_scores: dict[Pair, Scores] = field(default_factory=dict)

    def passed(self) -> dict[Pair, float]:
        """Return the rates of the pairs that passed."""
        return {pair: rate for pair, rate in self.rates.items() if self.gates[pair]["passed"]}


def _build(config: ExportConfig, run: dict[str, Any], checkpoint: Path, directory: Path, wanted: str) -> Manifest:
    """Write every file of the bundle but its manifest into `directory`, and return the manifest."""
    labels, max_tokens = tuple(run["labels"]), run["config"]["max_tokens"]
    prepared = Path(run["config"]["prepared"])
    if (prepared / "prepared.json").is_file():
        found = sha256_of_file(prepared / "prepared.json")
        if found != run["made_from"]["prepared"]:
            raise DataError(
                f"{prepared} holds other reviews than the run was trained on, so rows that are held out now may have "
                "been trained on. Prepare them again as they were, or train again."
            )
    truncation, steps = truncation_of(run["config"]), tuple(run.get("steps", ()))
    (directory / "onnx").mkdir()
    shutil.copy(checkpoint / "config.json", directory)
    for name in TOKENIZER_FILES:
        if (checkpoint / name).is_file():
            shutil.copy(checkpoint / name, directory)
    contents = {file.name: file.read_bytes() for file in directory.glob("*.json")}
    check_model_files(contents, checkpoint, labels=labels, max_tokens=max_tokens)
    encoder = load_encoder(directory / "tokenizer.json", max_tokens=max_tokens, truncation=truncation, steps=steps)
    with tqdm(total=len(config.variants) + 2, desc="exporting", unit="step", disable=None, leave=False) as bar:
        held_out = hold_out(config, prepared, checkpoint, encoder, labels)
        bar.update()
        measured = _write_and_check(config, checkpoint, directory, encoder, held_out, labels, bar)
        left_out = _remove_missed(config, measured, directory)
        files = {name: directory / FILES[name] for name, _ in measured.passed()}
        bench = race(measured.passed(), files, encoder, held_out.texts[:BENCH_TEXTS], config.threads)
    best = default_of({pair: found["rows_per_s"] for pair, found in bench.items()}, VARIANTS)
    variants = _variants(measured, bench, config)
    default = Default(engine=best[1], variant=best[0])
    training = {
        "best": run["best"],
        "base_model": run["base_model"],
        "model": run["config"]["model"],
        "made_from": run["made_from"],
    }
    card = model_card(labels, encoder, training, held_out.temperature, variants, default)
    (directory / "README.md").write_text(card, encoding="utf-8")
    listed = describe_bundle_files(directory)
    return Manifest(
        format_version=FORMAT_VERSION,
        bundle_id=compute_bundle_id(listed, labels, max_tokens, steps, truncation),
        labels=labels,
        max_tokens=max_tokens,
        truncation=truncation,
        steps=steps,
        thresholds={},
        variants=variants,
        defaults={"cpu": default},
        files=listed,
        training=training,
        evaluation={"left_out": left_out},
        reference=profile_of(held_out.texts, measured.scores[best], labels),
        temperature=held_out.temperature,
        self_test=_self_test(held_out, measured),
        versions=installed_versions(
            "torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime", "openvino", "ftfy"
        ),
        fingerprint=wanted,
    )


def _write_and_check(
    config: ExportConfig,
    checkpoint: Path,
    directory: Path,
    encoder: TextEncoder,
    held_out: HeldOut,
    labels: tuple[str, ...],
    bar: Any,
) -> Measured:
    """Write the configured ONNX files and hold each, with every engine, against torch."""
    measured = Measured()
    with tempfile.TemporaryDirectory() as temporary:
        calibrated = Path(temporary) / "checkpoint"
        fold_temperature(checkpoint, held_out.temperature, calibrated)
        export_graph(calibrated, directory / FILES["fp32"])
        bar.update()
        for name in config.variants:
            write_variant(name, directory, calibrated, encoder, held_out.texts)
            file = directory / FILES[name]
            for kind in available_engines():
                engine, pair = load_engine(kind, file.read_bytes(), threads=config.threads, source=file), (name, kind)
                measured.gates[pair], measured.scores[pair], measured.case_scores[pair] = check(
                    engine, encoder, held_out, labels, config
                )
                measured.rates[pair] = rate_of(engine, encoder, held_out.texts[:BENCH_TEXTS])
            bar.update()
    if "fp32" not in config.variants:
        (directory / FILES["fp32"]).unlink()
    return measured


def _remove_missed(config: ExportConfig, measured: Measured, directory: Path) -> dict[str, dict[str, Any]]:
    """Remove the files that passed with no engine and return their gates; GateError when one is the required file."""
    kept = {name for name, _ in measured.passed()}
    missed: dict[str, dict[str, Any]] = {}
    for (name, kind), gate in measured.gates.items():
        if name not in kept:
            missed.setdefault(name, {})[kind] = gate
    if config.required in missed:
        reasons = "; ".join(
            f"with {kind} {', '.join(gate['missed'])}" for kind, gate in missed[config.required].items()
        )
        raise GateError(
            f"The required variant {config.required!r} missed its gate, so there is no bundle: {reasons}. "
            "The bounds are keys of [export]."
        )
    for name in missed:
        (directory / FILES[name]).unlink()
    return missed


def _variants(measured: Measured, bench: dict[Pair, dict[str, Any]], config: ExportConfig) -> dict[str, Variant]:
    """Return the entries of the manifest for the files that passed with at least one engine."""
    variants = {}
    for name in dict.fromkeys(name for name, _ in measured.passed()):
        kinds = [kind for other, kind in measured.gates if other == name]
        once = {kind: {"rows_per_s": round(measured.rates[name, kind], 1), "rounds": 1} for kind in kinds}
        variants[name] = Variant(
            file=FILES[name],
            precision=PRECISIONS.get(name, "int8"),
            gate={kind: measured.gates[name, kind] for kind in kinds},
            bench={kind: bench.get((name, kind), once[kind]) | {"threads": config.threads} for kind in kinds},
        )
    return variants


def _self_test(held_out: HeldOut, measured: Measured) -> SelfTest:
    """Return some cases of the suite, torch's answers, and how far from them each pair that passed was.

    They have few lengths, for an engine takes longest over the first batch of each.
    """
    expected, lengths = held_out.case_scores.probabilities, held_out.case_scores.tokens
    values, counts = np.unique(lengths, return_counts=True)
    common = values[np.argsort(-counts, kind="stable")[:SELF_TEST_LENGTHS]]
    places = np.flatnonzero(np.isin(lengths, common))
    rows = places[evenly_spaced_rows(len(places), SELF_TEST_TEXTS)]
    differences: dict[str, dict[str, float]] = {}
    for name, kind in measured.passed():
        difference = np.abs(measured.case_scores[name, kind].probabilities - expected)[rows].max()
        differences.setdefault(name, {})[kind] = round(float(difference), 6)
    return SelfTest(
        texts=tuple(held_out.cases[row].text for row in rows),
        probabilities=tuple(tuple(round(float(value), 6) for value in expected[row]) for row in rows),
        differences=differences,
    )


def _result(output: Path, manifest: Manifest, *, skipped: bool) -> dict[str, Any]:
    return {
        "output": str(output),
        "bundle_id": manifest.bundle_id,
        "variants": list(manifest.variants),
        "default": manifest.defaults["cpu"].model_dump(),
        "skipped": skipped,
    }

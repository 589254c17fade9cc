"""Builds a bundle from a run, whole or not at all: calibrate, export, write variants, gate, choose the default.

Knows nothing of Ray.
"""

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from export.benchmark import BENCH_TEXTS, choose_default, measure_in_turns
from export.closing import Exported, list_sentences, show_closing
from export.config import ExportConfig
from export.held_out import HeldOut, score_held_out
from export.model_card import make_model_card
from export.model_files import copy_model_files
from export.onnx_files import Measured, describe_variants, remove_missed, write_and_check
from export.push import push_bundle
from export.triton import write_triton
from export.variants import VARIANTS
from sentiment_ray import log
from sentiment_ray.atomic_files import new_directory
from sentiment_ray.bundle.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    Default,
    Manifest,
    SelfTest,
    compute_bundle_id,
    is_bundle_file,
)
from sentiment_ray.bundle.model_config import refuse_kernels
from sentiment_ray.bundle.open import describe_bundle_files, open_bundle, verify_bundle
from sentiment_ray.engine_specs import engine_packages
from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.inference.drift import compute_profile
from sentiment_ray.manifest import (
    find_finished_result,
    fingerprint,
    hash_file,
    write_json,
)
from sentiment_ray.metrics.classification import classification_metrics, confusion_counts
from sentiment_ray.output_lock import hold_local_lock, name_lock_beside
from sentiment_ray.paths import local_path
from sentiment_ray.pretrained.directory import explain_no_weights
from sentiment_ray.pretrained.open import OpenedModel, open_model
from sentiment_ray.pretrained.runs import (
    PREPARED_NAME,
    describe_checkpoint,
    find_checkpoint,
    has_reviews_of,
    name_base_model,
    read_run,
)
from sentiment_ray.sampling import evenly_spaced_rows
from sentiment_ray.text.encoding import load_encoder
from sentiment_ray.text.truncation import read_truncation
from sentiment_ray.versions import installed_versions

NOT_SETTINGS = {"output", "restart", "run", "triton", "sign_key", "push"}
"""Keys that do not change what the bundle holds."""
SELF_TEST_TEXTS, SELF_TEST_LENGTHS = 32, 4


def export_bundle(config: ExportConfig) -> dict[str, Any]:
    """Export the best checkpoint of a run as a bundle of ONNX files that were compared with it, and return the result.

    GateError when the required variant misses its bounds: then no bundle is written. Other variants that miss theirs
    are left out; the manifest's `evaluation` has their figures. A bundle that is up to date is not built again, but
    signed, pushed and written for Triton as the configuration says.
    """
    refuse_kernels()
    signer = _load_signer(config)
    output, run_path = local_path(config.output, "output"), local_path(config.run, "run")
    run = read_run(run_path)
    checkpoint = run_path / config.checkpoint if config.checkpoint else find_checkpoint(run_path, run)
    if not (checkpoint / "model.safetensors").is_file():
        raise ConfigError(f"checkpoint = {str(checkpoint)!r} {explain_no_weights(checkpoint)} Or train the run again.")
    settings = config.model_dump(mode="json", exclude=NOT_SETTINGS)
    made_from = {"run": run["fingerprint"], "checkpoint": hash_file(checkpoint / "model.safetensors")}
    wanted = fingerprint([settings, made_from])
    finished = find_finished_result(output, MANIFEST_NAME, wanted, restart=config.restart, own_files=is_bundle_file)
    if not finished:
        with (
            hold_local_lock(name_lock_beside(output), output),
            open_model(checkpoint, key="checkpoint") as opened,
            new_directory(output) as directory,
        ):
            manifest = _build(config, run, opened, directory, wanted)
            write_json(directory / MANIFEST_NAME, manifest.model_dump(mode="json"))
            verify_bundle(directory)
    if signer:
        from export.sign import sign_bundle  # needs the extra `sign`

        sign_bundle(output, signer)
    bundle = open_bundle(output)
    show_closing(bundle.manifest)
    if config.triton:
        write_triton(bundle, local_path(config.triton, "triton"), restart=config.restart)
    if config.push:
        push_bundle(bundle, config.push)
    return _make_result(output, bundle.manifest, skipped=finished is not None)


def _load_signer(config: ExportConfig) -> Any:
    """Return what signs the bundle, or None. A wrong key is reported now, not after the export."""
    if config.sign_key is None:
        return None
    from sentiment_ray.bundle.signature import load_signer  # needs the extra `sign`

    return load_signer(config.sign_key)


def _build(config: ExportConfig, run: dict[str, Any], opened: OpenedModel, directory: Path, wanted: str) -> Manifest:
    """Write every file of the bundle except its manifest into `directory`, and return the manifest."""
    labels, max_tokens = tuple(run["labels"]), run["config"]["max_tokens"]
    truncation, cleaning_steps = read_truncation(run["config"]), tuple(run.get("steps", ()))
    prepared = _find_prepared(run)
    checkpoint = opened.root  # whatever reads it opens it again
    copy_model_files(opened, directory, labels=labels, max_tokens=max_tokens, truncation=truncation)
    encoder = load_encoder(
        directory / "tokenizer.json", max_tokens=max_tokens, truncation=truncation, cleaning_steps=cleaning_steps
    )
    with tqdm(
        total=len(config.variants) + 2, desc="exporting", unit="step", disable=log.hide_bars(), leave=False
    ) as bar:
        held_out = score_held_out(config, prepared, checkpoint, encoder, labels)
        bar.update()
        measured = write_and_check(config, checkpoint, directory, encoder, held_out, labels, bar)
        left_out = remove_missed(config, measured, directory)
        files = {name: directory / VARIANTS[name].file for name, _ in measured.passed()}
        bench = measure_in_turns(measured.passed(), files, encoder, held_out.texts[:BENCH_TEXTS], config.threads)
    best = choose_default({pair: entry["rows_per_s"] for pair, entry in bench.items()}, list(VARIANTS))
    variants = describe_variants(measured, bench, config)
    default = Default(engine=best[1], variant=best[0])
    training = _describe_training(run, local_path(config.run, "run"), checkpoint, held_out)
    evaluation = {"left_out": left_out, "calibration": held_out.calibration}
    if held_out.static_calibration:
        evaluation["static_calibration"] = held_out.static_calibration.describe()
    notes = list_sentences(Exported(variants, training, evaluation))
    card = make_model_card(labels, encoder, training, variants, default, notes)
    (directory / "README.md").write_text(card, encoding="utf-8")
    files_listed = describe_bundle_files(directory)
    return Manifest(
        format_version=FORMAT_VERSION,
        bundle_id=compute_bundle_id(files_listed, labels, max_tokens, cleaning_steps, truncation),
        labels=labels,
        max_tokens=max_tokens,
        truncation=truncation,
        steps=cleaning_steps,
        thresholds={},
        variants=variants,
        defaults={"cpu": default},
        files=files_listed,
        training=training,
        evaluation=evaluation,
        reference=compute_profile(held_out.texts, measured.results[best].scores, labels),
        temperature=held_out.temperature,
        self_test=_make_self_test(held_out, measured),
        metadata=config.metadata,
        versions=installed_versions(
            "torch", "transformers", "optimum", "optimum-onnx", "onnx", *engine_packages(), "ftfy"
        ),
        fingerprint=wanted,
    )


def _describe_training(run: dict[str, Any], path: Path, checkpoint: Path, held_out: HeldOut) -> dict[str, Any]:
    """Return what the manifest says of the training; `best` describes the checkpoint that is exported.

    It holds no path of this machine, because bundles are published.
    """
    exported = describe_checkpoint(path, run, checkpoint)
    if exported["metrics"] is None:  # a checkpoint within an epoch
        counts = confusion_counts(held_out.label_ids, held_out.scores.label_ids, len(run["labels"]))
        exported["metrics"] = classification_metrics(counts)
    return {
        "best": exported,
        "is_best": exported["checkpoint"] == run["best"]["checkpoint"],
        "base_model": run["base_model"],
        **name_base_model(run["config"]),
        "made_from": run["made_from"],
    }


def _find_prepared(run: dict[str, Any]) -> Path:
    """Return the directory of the prepared reviews. DataError when it holds other reviews than the run was given."""
    prepared = Path(run["config"]["prepared"])
    if (prepared / PREPARED_NAME).is_file() and not has_reviews_of(prepared, run):
        raise DataError(
            f"{prepared} holds other reviews than the run was trained on, so its validation reviews may be among those "
            "that the run was trained on. Prepare the reviews as they were, or train again."
        )
    return prepared


def _make_self_test(held_out: HeldOut, measured: Measured) -> SelfTest:
    """Return some cases of the suite, torch's answers, and the largest difference from them of each pair that passed.

    The cases have few different lengths, because an engine takes long over the first batch of each length.
    """
    expected, lengths = held_out.case_scores.probabilities, held_out.case_scores.tokens
    values, counts = np.unique(lengths, return_counts=True)
    common = values[np.argsort(-counts, kind="stable")[:SELF_TEST_LENGTHS]]
    candidates = np.flatnonzero(np.isin(lengths, common))
    rows = candidates[evenly_spaced_rows(len(candidates), SELF_TEST_TEXTS)]
    differences: dict[str, dict[str, float]] = {}
    for name, kind in measured.passed():
        difference = np.abs(measured.results[name, kind].case_scores.probabilities - expected)[rows].max()
        differences.setdefault(name, {})[kind] = round(float(difference), 6)
    return SelfTest(
        texts=tuple(held_out.cases[row].text for row in rows),
        probabilities=tuple(tuple(round(float(value), 6) for value in expected[row]) for row in rows),
        differences=differences,
    )


def _make_result(output: Path, manifest: Manifest, *, skipped: bool) -> dict[str, Any]:
    return {
        "output": str(output),
        "bundle_id": manifest.bundle_id,
        "variants": list(manifest.variants),
        "default": manifest.defaults["cpu"].model_dump(),
        "skipped": skipped,
    }

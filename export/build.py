"""Builds a bundle of a model, whole or not at all: export, write variants, gate, choose the default.

Knows nothing of Ray.
"""

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from export.benchmark import BENCH_TEXTS, choose_default, measure_in_turns
from export.closing import Exported, list_sentences, show_closing
from export.config import ExportConfig
from export.exported_model import CardContent, ExportedModel
from export.fine_tuned import find_fine_tuned
from export.held_out import HeldOut
from export.nearest_label import find_encoder
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
from sentiment_ray.inference.drift import compute_profile
from sentiment_ray.manifest import find_finished_result, fingerprint, write_json
from sentiment_ray.output_lock import hold_local_lock, name_lock_beside
from sentiment_ray.paths import local_path
from sentiment_ray.sampling import evenly_spaced_rows
from sentiment_ray.text.encoding import load_encoder
from sentiment_ray.versions import installed_versions

NOT_SETTINGS = {"output", "restart", "run", "encoder", "triton", "sign_key", "push"}
"""Keys that do not change what the bundle holds."""
SELF_TEST_TEXTS, SELF_TEST_LENGTHS = 32, 4


def export_bundle(config: ExportConfig) -> dict[str, Any]:
    """Export a model as a bundle of ONNX files that were compared with it, and return the result.

    The model is the best checkpoint of a run, or an encoder that is not fine-tuned and answers with the nearest label.
    GateError when the required variant misses its bounds: then no bundle is written. Other variants that miss theirs
    are left out; the manifest's `evaluation` has their figures. A bundle that is up to date is not built again, but
    signed, pushed and written for Triton as the configuration says.
    """
    refuse_kernels()
    signer = _load_signer(config)
    output = local_path(config.output, "output")
    model = find_encoder(config) if config.encoder else find_fine_tuned(config)
    settings = config.model_dump(mode="json", exclude=NOT_SETTINGS)
    wanted = fingerprint([settings, model.made_from])
    finished = find_finished_result(output, MANIFEST_NAME, wanted, restart=config.restart, own_files=is_bundle_file)
    if not finished:
        with hold_local_lock(name_lock_beside(output), output), new_directory(output) as directory:
            manifest = _build(config, model, directory, wanted)
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


def _build(config: ExportConfig, model: ExportedModel, directory: Path, wanted: str) -> Manifest:
    """Write every file of the bundle except its manifest into `directory`, and return the manifest."""
    labels, reading = model.labels, model.reading
    model.copy_files(directory)
    encoder = load_encoder(
        directory / "tokenizer.json",
        max_tokens=reading.max_tokens,
        truncation=reading.truncation,
        cleaning_steps=reading.cleaning_steps,
    )
    with tqdm(
        total=len(config.variants) + 2, desc="exporting", unit="step", disable=log.hide_bars(), leave=False
    ) as bar:
        held_out = model.score_held_out(encoder)
        bar.update()
        measured = write_and_check(config, model, directory, encoder, held_out, bar)
        left_out = remove_missed(config, measured, directory)
        files = {name: directory / VARIANTS[name].file for name, _ in measured.passed()}
        bench = measure_in_turns(measured.passed(), files, encoder, held_out.texts[:BENCH_TEXTS], config.threads)
    best = choose_default({pair: entry["rows_per_s"] for pair, entry in bench.items()}, list(VARIANTS))
    variants = describe_variants(measured, bench, config)
    default = Default(engine=best[1], variant=best[0])
    training = model.describe_training(held_out)
    evaluation = {"left_out": left_out, "calibration": held_out.calibration}
    if held_out.static_calibration:
        evaluation["static_calibration"] = held_out.static_calibration.describe()
    notes = list_sentences(Exported(variants, training, evaluation))
    card = model.make_card(CardContent(encoder, training, variants, default, notes))
    (directory / "README.md").write_text(card, encoding="utf-8")
    files_listed = describe_bundle_files(directory)
    scores = measured.results[best].scores
    return Manifest(
        format_version=FORMAT_VERSION,
        bundle_id=compute_bundle_id(
            files_listed, labels, reading.max_tokens, reading.cleaning_steps, reading.truncation
        ),
        labels=labels,
        max_tokens=reading.max_tokens,
        truncation=reading.truncation,
        steps=reading.cleaning_steps,
        thresholds={},
        variants=variants,
        defaults={"cpu": default},
        files=files_listed,
        training=training,
        evaluation=evaluation,
        reference=compute_profile(held_out.texts, scores, labels) if model.has_reviews else {},
        temperature=held_out.temperature,
        self_test=_make_self_test(held_out, measured),
        metadata=config.metadata,
        versions=installed_versions(
            "torch", "transformers", "optimum", "optimum-onnx", "onnx", *engine_packages(), "ftfy"
        ),
        fingerprint=wanted,
    )


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

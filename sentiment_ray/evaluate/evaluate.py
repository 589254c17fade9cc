"""Evaluates a bundle on labelled reviews with the Predictor that scoring uses; knows no torch and no Ray."""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sentiment_ray import log
from sentiment_ray.atomic_files import new_directory
from sentiment_ray.engine_specs import engine_packages
from sentiment_ray.errors import BundleError, GateError
from sentiment_ray.evaluate.abstain import choose_thresholds
from sentiment_ray.evaluate.calibration import measure_calibration
from sentiment_ray.evaluate.comparison import compare_bundles
from sentiment_ray.evaluate.config import EvaluateConfig
from sentiment_ray.evaluate.examples import (
    AGAINST_PREFIX,
    PREFIX,
    check_column_names,
    format_examples,
    select_examples,
    write_example_tables,
)
from sentiment_ray.evaluate.labelled_rows import LabelledRows, read_labelled, select_slice_columns
from sentiment_ray.evaluate.measures import make_all_measures
from sentiment_ray.evaluate.page import write_page
from sentiment_ray.evaluate.ranking import compute_curves
from sentiment_ray.evaluate.scored_rows import ScoredRows, join_labels
from sentiment_ray.evaluate.slices import measure_slices
from sentiment_ray.inference.behaviour import count_passed_cases, load_cases
from sentiment_ray.inference.predictor import PackedBundle, Predictor, pack_bundle
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.input_files.listing import InputFile, Listing, list_input, refuse_overlap
from sentiment_ray.labels import DEFAULT_LABELS
from sentiment_ray.manifest import (
    add_hashes,
    describe_inputs,
    find_finished_result,
    fingerprint,
    hash_file,
    read_earlier,
    write_json,
)
from sentiment_ray.metrics.classification import classification_metrics, confusion_counts
from sentiment_ray.metrics.intervals import bootstrap
from sentiment_ray.paths import absolute_location, local_path
from sentiment_ray.rejected_rows import warn_about_rejected_rows
from sentiment_ray.versions import installed_versions

MANIFEST_NAME = "evaluation.json"
PAGE_NAME = "report.html"
OWN_FILES = re.compile(r"evaluation\.json|report\.html|(mistakes|uncertain|flips)\.parquet")
"""The files of an output. One with other files in it is not replaced."""
EXCLUDED_KEYS = {
    "output", "restart", "bundle", "engine", "variant", "against", "against_engine", "against_variant",
    "require_signature",
}  # fmt: skip
"""Keys that are not part of the fingerprint: they change nothing, or their files are in it instead."""


def evaluate_bundle(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate a bundle on labelled reviews; write evaluation.json, report.html and Parquet files of examples.

    GateError, after everything is written, when the bundle is worse than `against` by more than allowed. Other errors
    as `pack_bundle`, `list_input` and `read_labelled`.
    """
    output = local_path(config.output, "output")
    packed = pack_bundle(
        local_path(config.bundle, "bundle"),
        engine=config.engine,
        variant=config.variant,
        require_signature=config.require_signature,
    )
    against = _pack_other_bundle(config, packed)
    listing = list_labelled(config.input, output, packed.manifest.training)
    settings = config.model_dump(mode="json", exclude=EXCLUDED_KEYS)
    scored_by = [[part.manifest.bundle_id, part.engine, part.variant] for part in (packed, against) if part]
    files = _describe_files(listing.files, read_earlier(output / MANIFEST_NAME).get("files", []))
    expected = fingerprint([settings, scored_by, files])
    finished = find_finished_result(
        output, MANIFEST_NAME, expected, restart=config.restart, own_files=OWN_FILES.fullmatch
    )
    if finished:
        return _make_result(output, finished, skipped=True)

    files = files if "version" in files[0] else add_hashes(files)
    labelled = read_labelled(listing.files, config, packed.manifest.labels)
    check_column_names(labelled.table, packed.manifest.labels, (PREFIX, AGAINST_PREFIX) if against else (PREFIX,))
    columns = select_slice_columns(labelled.table, config)
    predictor = Predictor(packed)
    scores = predictor.score(labelled.texts)
    scored = join_labels(scores, labelled.label_ids, predictor.labels)
    other = _score(against, labelled) if against else None

    report = _measure(config, scored, scores, labelled.texts, columns) | {
        "rejected": labelled.rejected,
        "suite": run_suite(predictor),
        "base_model": packed.manifest.training.get("base_model"),
        "comparison": _compare(config, scored, other, against),
        "input": config.input,
        "files": files,
        "left_out_files": listing.describe_left_out(),
        "bundle": packed.source,
        "engine": packed.engine,
        "variant": packed.variant,
        "bundle_id": packed.manifest.bundle_id,
        "fingerprint": expected,
        "versions": installed_versions("scikit-learn", *engine_packages()),
    }
    rows = select_examples(scored, other)
    examples = format_examples(config, predictor, rows, labelled.texts) if config.show_texts else {}
    with new_directory(output) as directory:
        write_example_tables(directory, rows, labelled.table, max_rows=config.examples)
        write_json(directory / MANIFEST_NAME, report)
        (directory / PAGE_NAME).write_text(write_page(report, examples), encoding="utf-8")
    return _make_result(output, report, skipped=False)


def list_labelled(location: str, output: Path, training: Mapping[str, Any]) -> Listing:
    """Return the Parquet files of the input, of prepared reviews the test split; errors as `list_input`.

    ConfigError when the output and the input overlap. `training` is what the bundle says about its training: a warning
    on stderr tells when the input has rows that the model was trained on.
    """
    location = absolute_location(location, "input")
    label = f"input = {location!r}"
    listing = list_input(location, label=label, formats=("parquet",), splits=("test",))
    refuse_overlap(listing, str(output), label=label)
    listing.warn_about_left_out("evaluate_bundle reads Parquet files. To read one of these, name it itself.")
    prepared = training.get("made_from", {}).get("prepared")
    for directory in sorted({Path(file.path).parent for file in listing.files if "://" not in file.path}):
        manifest = directory.parent / "prepared.json"
        if directory.name in ("train", "validation") and manifest.is_file() and hash_file(manifest) == prepared:
            log.notify(
                f"{directory} is the {directory.name} split that this model was made with, so its measures are better "
                "than on new rows. Name the test split.",
                level=logging.WARNING,
            )
    return listing


def _describe_files(files: Sequence[InputFile], earlier: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return path, size and version of each file; of local files as `describe_inputs`, with those of `earlier`."""
    if "://" in files[0].path:
        return [{"path": file.path, "bytes": file.bytes, "version": file.version} for file in files]
    return describe_inputs([Path(file.path) for file in files], earlier)


def run_suite(predictor: Predictor) -> dict[str, Any]:
    """Return the results of the sentiment suite by capability, each with `cases`, `passed` and `share`."""
    cases = load_cases()
    label_ids = predictor.score([case.text for case in cases]).label_ids
    results: dict[str, Any] = count_passed_cases(cases, label_ids, predictor.labels)["by_capability"]
    return results


def _pack_other_bundle(config: EvaluateConfig, packed: PackedBundle) -> PackedBundle | None:
    """Return the bundle to compare with, or None; BundleError when its labels differ."""
    if not config.against:
        return None
    path = local_path(config.against, "against")
    against = pack_bundle(
        path,
        engine=config.against_engine,
        variant=config.against_variant,
        require_signature=config.require_signature,
    )
    if against.manifest.labels != packed.manifest.labels:
        raise BundleError(
            f"{packed.source} has the labels {', '.join(packed.manifest.labels)}, but {against.source} has "
            f"{', '.join(against.manifest.labels)}. Compare bundles with the same labels in the same order."
        )
    return against


def _score(packed: PackedBundle, labelled: LabelledRows) -> ScoredRows:
    return join_labels(Predictor(packed).score(labelled.texts), labelled.label_ids, packed.manifest.labels)


def _measure(
    config: EvaluateConfig, scored: ScoredRows, scores: Scores, texts: Sequence[str], columns: dict[str, list[Any]]
) -> dict[str, Any]:
    """Return all measures of one bundle, as JSON."""
    ordered = scored.labels == DEFAULT_LABELS if config.ordered is None else config.ordered
    majority = Counter(scored.label_ids.tolist()).most_common(1)[0][0]
    always = np.full_like(scored.label_ids, majority)
    measures = bootstrap(make_all_measures(scored, ordered=ordered), scored.num_rows, seed=config.seed)
    return {
        "metrics": {"rows": scored.num_rows} | measures,
        "majority": {
            "label": scored.labels[majority],
            **classification_metrics(confusion_counts(scored.label_ids, always, len(scored.labels))),
        },
        "confusion": scored.counts.tolist(),
        "labels": scored.labels,
        "ordered": ordered,
        "curves": compute_curves(scored),
        "calibration": measure_calibration(scored, seed=config.seed),
        "slices": measure_slices(scored, scores, texts, columns, seed=config.seed),
        "mistakes": int((~scored.correct).sum()),
        "abstain": choose_thresholds(scored, config.precisions, seed=config.seed),
    }


def _compare(
    config: EvaluateConfig, scored: ScoredRows, other: ScoredRows | None, against: PackedBundle | None
) -> dict[str, Any]:
    if other is None or against is None:
        return {}
    return {
        "bundle": against.source,
        "bundle_id": against.manifest.bundle_id,
        "engine": against.engine,
        "variant": against.variant,
    } | compare_bundles(scored, other, max_macro_f1_drop=config.max_macro_f1_drop, seed=config.seed)


def _make_result(output: Path, report: dict[str, Any], *, skipped: bool) -> dict[str, Any]:
    """Return the result of the job, and warn about rejected rows; GateError when the comparison did not pass."""
    rejected, num_measured = report["rejected"], report["metrics"]["rows"]
    warn_about_rejected_rows(
        rejected["rows"],
        num_measured + rejected["rows"],
        rejected["reasons"],
        first=rejected.get("first", ""),
        where=f"They are counted in {output / MANIFEST_NAME}.",
    )
    comparison = report["comparison"]
    if comparison and not comparison["passed"]:
        loss = -comparison["differences"]["macro_f1"]
        raise GateError(
            f"{_describe_bundle(report)} has {loss:.4f} less macro-F1 than {_describe_bundle(comparison)} "
            f"({report['metrics']['macro_f1']:.4f}, not {comparison['metrics']['macro_f1']:.4f}), more than "
            f"max_macro_f1_drop = {comparison['max_macro_f1_drop']:g}. See {output / PAGE_NAME}."
        )
    if comparison and not comparison.get("certain", True):  # earlier releases did not judge the interval
        lost = -comparison["differences"]["intervals"]["macro_f1"][0]
        log.notify(
            f"{num_measured:,} rows cannot rule out a loss of {lost:.4f} macro-F1 to {_describe_bundle(comparison)}, "
            f"more than max_macro_f1_drop = {comparison['max_macro_f1_drop']:g}. More rows give a narrower interval.",
            level=logging.WARNING,
        )
    metrics = {key: report["metrics"][key] for key in ("rows", "accuracy", "macro_f1")}
    return {"output": str(output), "metrics": metrics, "report": str(output / PAGE_NAME), "skipped": skipped}


def _describe_bundle(scorer: dict[str, Any]) -> str:
    return f"{scorer['bundle']} ({scorer['engine']}, {scorer['variant']})"

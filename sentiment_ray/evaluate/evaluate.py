"""Measures a bundle on labelled reviews, through the same Predictor as scoring; knows nothing of torch or Ray."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from sentiment_ray.errors import BundleError, GateError
from sentiment_ray.evaluate.abstain import abstention_of
from sentiment_ray.evaluate.attribution import attributions_of
from sentiment_ray.evaluate.calibration import calibration_of
from sentiment_ray.evaluate.comparison import comparison_of
from sentiment_ray.evaluate.config import EvaluateConfig
from sentiment_ray.evaluate.examples import (
    AGAINST_PREFIX,
    PREFIX,
    answers_of,
    check_names,
    confident_mistakes,
    flipped,
    least_certain,
    shown,
    with_answers,
)
from sentiment_ray.evaluate.measures import all_measures
from sentiment_ray.evaluate.page import NUM_SHOWN, write_page
from sentiment_ray.evaluate.ranking import curves
from sentiment_ray.evaluate.reading import Labelled, list_inputs, read_labelled, slice_columns
from sentiment_ray.evaluate.scored import Scored, scored_of
from sentiment_ray.evaluate.slices import slices_of
from sentiment_ray.inference.behaviour import load_cases, results_of
from sentiment_ray.inference.predictor import PackedBundle, Predictor, Scores, pack_bundle
from sentiment_ray.labels import DEFAULT_LABELS
from sentiment_ray.manifest import describe_files, fingerprint, finished_result, local_path, new_directory, write_json
from sentiment_ray.metrics.classification import classification_metrics, confusion_counts
from sentiment_ray.metrics.intervals import bootstrap
from sentiment_ray.versions import installed_versions

MANIFEST_NAME = "evaluation.json"
PAGE_NAME = "report.html"
NOT_SETTINGS = {"output", "restart", "bundle", "engine", "variant", "against", "against_engine", "against_variant"}
"""Keys that the result does not depend on, or through what they name alone."""


@dataclass(frozen=True)
class _Rows:
    """Rows worth a look, by their places in the input: all mistakes, all flips, the least certain first."""

    mistakes: NDArray[np.intp]
    uncertain: NDArray[np.intp]
    flips: NDArray[np.intp]


def evaluate_bundle(config: EvaluateConfig) -> dict[str, Any]:
    """Measure a bundle on labelled reviews and write evaluation.json, report.html and Parquet files of examples.

    GateError, after all is written, when the bundle falls behind the one of `against` by more than is allowed. Other
    errors as of `pack_bundle`, `list_inputs` and `read_labelled`.
    """
    output = local_path(config.output, "output")
    packed = pack_bundle(local_path(config.bundle, "bundle"), engine=config.engine, variant=config.variant)
    against = _other_bundle(config, packed)
    files = list_inputs(local_path(config.input, "input"), output)
    settings = config.model_dump(mode="json", exclude=NOT_SETTINGS)
    scored_by = [[part.manifest.bundle_id, part.engine, part.variant] for part in (packed, against) if part]
    wanted = fingerprint([settings, scored_by, describe_files(files)])
    finished = finished_result(output, MANIFEST_NAME, wanted, restart=config.restart)
    if finished:
        return _result(output, finished, skipped=True)

    labelled = read_labelled(files, config, packed.manifest.labels)
    check_names(labelled.table, packed.manifest.labels, (PREFIX, AGAINST_PREFIX) if against else (PREFIX,))
    columns = slice_columns(labelled.table, config)
    predictor = Predictor(packed)
    scores = predictor.score(labelled.texts)
    scored = scored_of(scores, labelled.label_ids, predictor.labels)
    other = _score(against, labelled) if against else None

    report = _measured(config, scored, scores, labelled.texts, columns) | {
        "rejected": labelled.rejected,
        "suite": suite_results(predictor),
        "base_model": packed.manifest.training.get("base_model"),
        "comparison": _compared(config, scored, other, against),
        "input": config.input,
        "bundle": packed.source,
        "engine": packed.engine,
        "variant": packed.variant,
        "bundle_id": packed.manifest.bundle_id,
        "fingerprint": wanted,
        "versions": installed_versions("scikit-learn", "onnxruntime", "openvino"),
    }
    rows = _Rows(
        confident_mistakes(scored),
        least_certain(scored),
        flipped(scored, other) if other else np.zeros(0, dtype=np.intp),
    )
    examples = _examples(config, predictor, scored, other, labelled.texts, rows) if config.show_texts else {}
    with new_directory(output) as directory:
        _write_tables(directory, config, labelled.table, scored, other, rows)
        write_json(directory / MANIFEST_NAME, report)
        (directory / PAGE_NAME).write_text(write_page(report, examples), encoding="utf-8")
    return _result(output, report, skipped=False)


def suite_results(predictor: Predictor) -> dict[str, Any]:
    """Return the sentiment suite's results by capability, each with `cases`, `passed` and `share`."""
    cases = load_cases()
    label_ids = predictor.score([case.text for case in cases]).label_ids
    results: dict[str, Any] = results_of(cases, label_ids, predictor.labels)["by_capability"]
    return results


def _other_bundle(config: EvaluateConfig, packed: PackedBundle) -> PackedBundle | None:
    """Return the bundle to compare with, if any; BundleError when its labels are others."""
    if not config.against:
        return None
    path = local_path(config.against, "against")
    against = pack_bundle(path, engine=config.against_engine, variant=config.against_variant)
    if against.manifest.labels != packed.manifest.labels:
        raise BundleError(
            f"{packed.source} has the labels {', '.join(packed.manifest.labels)}, {against.source} has "
            f"{', '.join(against.manifest.labels)}. Compare bundles with the same labels in the same order."
        )
    return against


def _score(packed: PackedBundle, labelled: Labelled) -> Scored:
    return scored_of(Predictor(packed).score(labelled.texts), labelled.label_ids, packed.manifest.labels)


def _measured(
    config: EvaluateConfig, scored: Scored, scores: Scores, texts: Sequence[str], columns: dict[str, list[Any]]
) -> dict[str, Any]:
    """Return all that is measured of one bundle, as JSON."""
    ordered = scored.labels == DEFAULT_LABELS if config.ordered is None else config.ordered
    majority = Counter(scored.label_ids.tolist()).most_common(1)[0][0]
    always = np.full_like(scored.label_ids, majority)
    measures = bootstrap(all_measures(scored, ordered=ordered), scored.num_rows, seed=config.seed)
    return {
        "metrics": {"rows": scored.num_rows} | measures,
        "majority": {
            "label": scored.labels[majority],
            **classification_metrics(confusion_counts(scored.label_ids, always, len(scored.labels))),
        },
        "confusion": scored.counts.tolist(),
        "labels": scored.labels,
        "ordered": ordered,
        "curves": curves(scored),
        "calibration": calibration_of(scored, seed=config.seed),
        "slices": slices_of(scored, scores, texts, columns, seed=config.seed),
        "mistakes": int((~scored.correct).sum()),
        "abstain": abstention_of(scored, config.precisions, seed=config.seed),
    }


def _compared(
    config: EvaluateConfig, scored: Scored, other: Scored | None, against: PackedBundle | None
) -> dict[str, Any]:
    if other is None or against is None:
        return {}
    return {
        "bundle": against.source,
        "bundle_id": against.manifest.bundle_id,
        "engine": against.engine,
        "variant": against.variant,
    } | comparison_of(scored, other, max_macro_f1_drop=config.max_macro_f1_drop, seed=config.seed)


def _examples(
    config: EvaluateConfig,
    predictor: Predictor,
    scored: Scored,
    other: Scored | None,
    texts: list[str],
    rows: _Rows,
) -> dict[str, Any]:
    """Return the rows that the page shows with their texts; half of those explained are mistakes, if there are any."""
    flips = rows.flips[:NUM_SHOWN]
    half = rows.mistakes[: (config.attributions + 1) // 2]
    explained = np.array(list(dict.fromkeys([*half, *rows.uncertain]))[: config.attributions], dtype=np.intp)
    return {
        "mistakes": shown(scored, texts, rows.mistakes[:NUM_SHOWN]),
        "uncertain": shown(scored, texts, rows.uncertain[:NUM_SHOWN]),
        "attributions": attributions_of(predictor, scored, texts, explained),
        "flips": [
            row | {"against": other.labels[other.predicted_ids[place]]}
            for row, place in zip(shown(scored, texts, flips), flips, strict=True)
        ]
        if other
        else [],
    }


def _write_tables(
    directory: Path, config: EvaluateConfig, table: pa.Table, scored: Scored, other: Scored | None, rows: _Rows
) -> None:
    kinds = {"mistakes": rows.mistakes[: config.examples], "uncertain": rows.uncertain[: config.examples]}
    answers = {name: answers_of(scored, places) for name, places in kinds.items()}
    if other:
        kinds["flips"] = rows.flips
        answers["flips"] = answers_of(scored, rows.flips) | answers_of(other, rows.flips, prefix=AGAINST_PREFIX)
    for name, places in kinds.items():
        content = with_answers(table, places, answers[name])
        parquet.write_table(content, directory / f"{name}.parquet", compression="zstd")


def _result(output: Path, report: dict[str, Any], *, skipped: bool) -> dict[str, Any]:
    """Return the job's line; GateError when the comparison in the report, new or found, was not passed."""
    comparison = report["comparison"]
    if comparison and not comparison["passed"]:
        lost = -comparison["differences"]["macro_f1"]
        raise GateError(
            f"{_named(report)} has {lost:.4f} less macro-F1 than {_named(comparison)} "
            f"({report['metrics']['macro_f1']:.4f}, not {comparison['metrics']['macro_f1']:.4f}), more than "
            f"max_macro_f1_drop = {comparison['max_macro_f1_drop']:g}. {output / PAGE_NAME} shows where."
        )
    metrics = {key: report["metrics"][key] for key in ("rows", "accuracy", "macro_f1")}
    return {"output": str(output), "metrics": metrics, "report": str(output / PAGE_NAME), "skipped": skipped}


def _named(scorer: dict[str, Any]) -> str:
    return f"{scorer['bundle']} ({scorer['engine']}, {scorer['variant']})"

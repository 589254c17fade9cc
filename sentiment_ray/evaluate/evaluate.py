"""Measures a bundle on labelled reviews, through the same Predictor as scoring; knows nothing of torch or Ray."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.errors import DataError
from sentiment_ray.evaluate.config import EvaluateConfig
from sentiment_ray.labels import label2id
from sentiment_ray.manifest import describe_files, fingerprint, finished_result, local_path, new_directory, write_json
from sentiment_ray.metrics import classification_metrics, confusion_counts
from sentiment_ray.predictor import Predictor
from sentiment_ray.versions import installed_versions

MANIFEST_NAME = "evaluation.json"


def evaluate_bundle(config: EvaluateConfig) -> dict[str, Any]:
    """Return accuracy and macro-F1 of a bundle on labelled reviews, beside those of always naming the largest label."""
    output = local_path(config.output, "output")
    predictor = Predictor.load(local_path(config.bundle, "bundle"), engine=config.engine, variant=config.variant)
    bundle, labels = predictor.manifest, predictor.labels
    table, files = _read(local_path(config.input, "input"), config)
    settings = config.model_dump(mode="json", exclude={"output", "restart", "bundle", "engine", "variant"})
    scored_by = [bundle.bundle_id, predictor.engine, predictor.variant]
    wanted = fingerprint([settings, scored_by, describe_files(files)])
    finished = finished_result(output, MANIFEST_NAME, wanted, restart=config.restart)
    if finished:
        return _result(output, finished, skipped=True)

    label_ids = _label_ids(table.column(config.label_column).to_pylist(), labels, config)
    scores = predictor.score(table.column(config.text_column).to_pylist())
    majority = Counter(label_ids.tolist()).most_common(1)[0][0]
    report = {
        "metrics": classification_metrics(confusion_counts(label_ids, scores.label_ids, len(labels))),
        "majority": {
            "label": labels[majority],
            **classification_metrics(confusion_counts(label_ids, np.full_like(label_ids, majority), len(labels))),
        },
        "confusion": confusion_counts(label_ids, scores.label_ids, len(labels)).tolist(),
        "labels": labels,
        "engine": predictor.engine,
        "variant": predictor.variant,
        "bundle_id": bundle.bundle_id,
        "fingerprint": wanted,
        "versions": installed_versions("scikit-learn", "onnxruntime", "openvino"),
    }
    with new_directory(output) as directory:
        write_json(directory / MANIFEST_NAME, report)
    return _result(output, report, skipped=False)


def _read(path: Path, config: EvaluateConfig) -> tuple[pa.Table, list[Path]]:
    """Return the text and label columns of every Parquet file, and the files."""
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise DataError(
            f"input = {str(path)!r}: there is no Parquet file. Name the test split or another labelled one."
        )
    tables = []
    for file in files:
        try:
            found = parquet.read_schema(file).names
            missing = [name for name in (config.text_column, config.label_column) if name not in found]
            if missing:
                raise DataError(
                    f"{file}: column {missing[0]!r} is missing (found: {', '.join(found)}). "
                    "Pass --text-column and --label-column."
                )
            tables.append(parquet.read_table(file, columns=[config.text_column, config.label_column]))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file}: not a Parquet file that can be read ({str(error).splitlines()[0]}).") from None
    return pa.concat_tables(tables, promote_options="permissive"), files


def _label_ids(names: list[Any], labels: tuple[str, ...], config: EvaluateConfig) -> np.ndarray:
    ids = label2id(labels)
    for row, name in enumerate(names):
        if name not in ids:
            raise DataError(
                f"{config.input}: row {row}: label {name!r} is not one of the bundle's ({', '.join(labels)}). "
                "Prepare the reviews with python -m jobs.prepare_reviews first."
            )
    return np.array([ids[name] for name in names], dtype=np.int64)


def _result(output: Path, report: dict[str, Any], *, skipped: bool) -> dict[str, Any]:
    metrics = {key: report["metrics"][key] for key in ("rows", "accuracy", "macro_f1")}
    return {"output": str(output), "metrics": metrics, "skipped": skipped}

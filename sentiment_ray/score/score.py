"""Scores a Parquet corpus with a Ray Data actor pool and commits it whole; knows nothing of tokens or engines."""

import json
import math
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import ray.data
from ray.util.annotations import RayDeprecationWarning
from tqdm import tqdm

from sentiment_ray.bundle import open_bundle
from sentiment_ray.cluster import connect
from sentiment_ray.errors import ConfigError, GateError
from sentiment_ray.manifest import describe_files, fingerprint, finished_result, local_path, new_directory, write_json
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.plan import Plan, plan_units
from sentiment_ray.score.scorer import Scorer, new_columns, write_quarantine
from sentiment_ray.versions import installed_versions

MANIFEST_NAME = "_MANIFEST.json"
SUCCESS_NAME = "_SUCCESS"


def score_reviews(config: ScoreConfig) -> dict[str, Any]:
    """Score every row of a Parquet corpus and return where the scores are and how many rows went in and out.

    Every input row ends exactly once in a part or in quarantine; the output appears whole or not at all. GateError
    when more than `max_quarantined` of the rows, or of the files, could not be scored.
    """
    paths = {key: str(local_path(getattr(config, key), key)) for key in ("bundle", "input", "output")}
    config = config.model_copy(update=paths)
    output = Path(config.output)
    manifest = open_bundle(config.bundle).manifest
    plan = plan_units(config, Path(config.input), output, new_columns(manifest.labels))
    settings = config.model_dump(mode="json", exclude={"output", "restart", "bundle"})
    files = describe_files(plan.files)
    wanted = fingerprint([settings, manifest.bundle_id, files])
    finished = finished_result(output, MANIFEST_NAME, wanted, restart=config.restart)
    if finished:
        return _result(output, finished, skipped=True)

    connect()
    num_workers = _num_workers(config, len(plan.units))
    with new_directory(output) as directory:
        receipts = _run(config, plan, num_workers, directory)
        write_quarantine(
            directory,
            "_files.parquet",
            [{"path": bad.path, "row": None, "rows": 0, "reason": bad.reason} for bad in plan.bad_files],
        )
        report = _summary(receipts, plan) | {
            "bundle_id": manifest.bundle_id,
            "fingerprint": wanted,
            "config": settings,
            "inputs": files,
            "versions": installed_versions("ray", "pyarrow", "onnxruntime", "openvino"),
        }
        _check(report, config)
        write_json(directory / MANIFEST_NAME, report)
        (directory / SUCCESS_NAME).touch()
    return _result(output, report, skipped=False)


def _run(config: ScoreConfig, plan: Plan, num_workers: int, directory: Path) -> list[dict[str, Any]]:
    """Have the actors score every unit, largest first, and return the receipts in the order of the parts."""
    units = sorted(plan.units, key=lambda unit: -unit.num_rows)
    rows = ray.data.from_items([{"unit": json.dumps(asdict(unit))} for unit in units], override_num_blocks=len(units))
    with warnings.catch_warnings():
        # Ray's default brings a dead actor back for ever, so one text that kills it would never let the job end. What
        # limits it is deprecated, and has no successor yet.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        receipts = rows.map_batches(
            Scorer,
            fn_constructor_args=(config, str(directory)),
            batch_size=1,
            num_cpus=config.cpus_per_worker,
            compute=ray.data.ActorPoolStrategy(size=num_workers),
            max_restarts=0,
            max_task_retries=0,
        )
    done: list[dict[str, Any]] = []
    total = sum(unit.num_rows for unit in units)
    with tqdm(total=total, desc="scoring", unit=" rows", unit_scale=True, disable=None, leave=False) as bar:
        for row in receipts.iter_rows():
            receipt = json.loads(row["receipt"])
            done.append(receipt)
            bar.update(receipt["rows_in"])
    return sorted(done, key=lambda receipt: str(receipt["path"]))


def _num_workers(config: ScoreConfig, num_units: int) -> int:
    """Return how many actors to start; ConfigError when the cluster can never hold as many as were asked for."""
    cpus = ray.cluster_resources().get("CPU", 0)
    possible = math.floor(cpus / config.cpus_per_worker)
    if possible < (config.num_workers or 1):
        raise ConfigError(
            f"num_workers = {config.num_workers or 1} with cpus_per_worker = {config.cpus_per_worker:g} does not fit: "
            f"the cluster has {cpus:g} CPUs. Lower one of them, or start more nodes."
        )
    return min(config.num_workers or possible, num_units)


def _summary(receipts: list[dict[str, Any]], plan: Plan) -> dict[str, Any]:
    return {
        "rows_in": sum(receipt["rows_in"] for receipt in receipts),
        "rows_scored": sum(receipt["rows"] for receipt in receipts),
        "rows_quarantined": sum(receipt["rows_quarantined"] for receipt in receipts),
        "files_quarantined": [{"path": bad.path, "reason": bad.reason} for bad in plan.bad_files],
        "parts": [
            {key: receipt[key] for key in ("path", "rows", "bytes", "sha256")}
            for receipt in receipts
            if receipt["sha256"]
        ],
    }


def _check(report: dict[str, Any], config: ScoreConfig) -> None:
    """Hold the sums against each other and the quarantine against its bound."""
    rows_in, quarantined = report["rows_in"], report["rows_quarantined"]
    if report["rows_scored"] + quarantined != rows_in:
        raise AssertionError(f"rows were lost or doubled: {rows_in} in, {report['rows_scored']} + {quarantined} out")
    bad_files, num_files = report["files_quarantined"], len(report["inputs"])
    if quarantined > config.max_quarantined * rows_in or len(bad_files) > config.max_quarantined * num_files:
        example = f" First file: {bad_files[0]['path']}: {bad_files[0]['reason']}." if bad_files else ""
        raise GateError(
            f"{quarantined} of {rows_in} rows and {len(bad_files)} of {num_files} files cannot be scored, more than "
            f"max_quarantined = {config.max_quarantined:g}; nothing was written.{example} "
            "Mend the input, or raise --max-quarantined to go on without them."
        )


def _result(output: Path, report: dict[str, Any], *, skipped: bool) -> dict[str, Any]:
    counts = {key: report[key] for key in ("rows_in", "rows_scored", "rows_quarantined")}
    return {"output": str(output), **counts, "parts": len(report["parts"]), "skipped": skipped}

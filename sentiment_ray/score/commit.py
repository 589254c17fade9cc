"""Ends a run: all receipts there and their sums right, then the manifest, then _SUCCESS; scores nothing."""

import hashlib
import io
import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.errors import GateError
from sentiment_ray.inference.drift import add_profiles, drift_of
from sentiment_ray.inference.predictor import PackedBundle
from sentiment_ray.score.columns import quarantine_table
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.groups import add_groups, mean_groups
from sentiment_ray.score.lock import Lock, refuse_if_taken_over
from sentiment_ray.score.plan import PLAN_NAME, Plan
from sentiment_ray.score.receipts import receipt_name
from sentiment_ray.score.report import write_report
from sentiment_ray.score.sinks import DELTA_LOG, commit_to_sink
from sentiment_ray.storage import TEMPORARY, Store
from sentiment_ray.versions import installed_versions

MANIFEST_NAME = "_MANIFEST.json"
SUCCESS_NAME = "_SUCCESS"
GROUPS_NAME = "_groups/groups.parquet"

Receipts = Sequence[dict[str, Any]]


def committed_manifest(store: Store) -> dict[str, Any] | None:
    """Return the manifest of an output that is finished, or None."""
    try:
        data = store.read(MANIFEST_NAME)
        stamp = store.read(SUCCESS_NAME).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    return json.loads(data) if hashlib.sha256(data).hexdigest() == stamp else None


def commit(
    store: Store,
    config: ScoreConfig,
    plan: Plan,
    bundle: PackedBundle,
    receipts: Receipts,
    lock: Lock,
    *,
    started_at: float,
) -> dict[str, Any]:
    """Write what stands beside the parts, then the manifest in one step, then _SUCCESS with the manifest's sha256.

    GateError, and no manifest, when more is in quarantine than `max_quarantined` allows.
    """
    counts = _counts(plan, receipts)
    _check_quarantine(counts, plan, config)
    refuse_if_taken_over(store, config.output, lock)
    parts = [_part_of(receipt) for receipt in receipts if receipt["part"] in receipt["files"]]
    commit_to_sink(store, config, plan, parts)  # first, for a sink that refuses leaves a finished output finished
    for name in (TEMPORARY, "_plan/attempts", SUCCESS_NAME):
        store.remove(name)
    files = {name: entry for receipt in receipts for name, entry in receipt["files"].items()}
    files |= _write_bad_files(store, plan) | _write_groups(store, config, bundle, receipts)
    report = _report(config, plan, bundle, receipts, counts, started_at)
    files |= _write(store, "_report.json", json.dumps(report, indent=2).encode())
    files |= _write(store, "_report.html", write_report(report).encode())
    for name in (PLAN_NAME, *(receipt_name(receipt["part"]) for receipt in receipts)):
        files[name] = _entry(store.read(name))
    files |= {name: _entry(store.read(name)) for name in store.list(DELTA_LOG)}
    manifest = counts | {
        "format_version": 1,
        "bundle_id": bundle.manifest.bundle_id,
        "engine": bundle.engine,
        "variant": bundle.variant,
        "labels": bundle.manifest.labels,
        "fingerprint": plan.fingerprint,
        "config": config.model_dump(mode="json", exclude={"output", "restart", "plan"}),
        "versions": report["versions"],
        "parts": parts,
        "files": dict(sorted(files.items())),
    }
    refuse_if_taken_over(store, config.output, lock)
    data = (json.dumps(manifest, indent=1) + "\n").encode()
    store.write(MANIFEST_NAME, data)
    store.write(SUCCESS_NAME, (hashlib.sha256(data).hexdigest() + "\n").encode())
    return manifest


def _counts(plan: Plan, receipts: Receipts) -> dict[str, Any]:
    """Return the sums over all receipts and bad files, held against the plan."""
    bad_rows = sum(bad.rows for bad in plan.bad_files)
    rows_scored = sum(receipt["rows"] for receipt in receipts)
    quarantined = sum(receipt["rows_quarantined"] for receipt in receipts) + bad_rows
    is_each_once = len({receipt["part"] for receipt in receipts}) == len(plan.units) == len(receipts)
    if rows_scored + quarantined != plan.num_rows or not is_each_once:
        raise AssertionError(f"rows were lost or doubled: {plan.num_rows} in, {rows_scored} + {quarantined} out")
    reasons: Counter[str] = Counter()
    for receipt in receipts:
        reasons.update(receipt["reasons"])
    for bad in plan.bad_files:
        reasons[bad.reason.partition(" (")[0]] += bad.rows
    return {
        "rows_in": plan.num_rows,
        "rows_scored": rows_scored,
        "rows_quarantined": quarantined,
        "quarantine_reasons": dict(sorted(reasons.items())),
        "files_quarantined": [{"path": bad.path, "rows": bad.rows, "reason": bad.reason} for bad in plan.bad_files],
    }


def _check_quarantine(counts: dict[str, Any], plan: Plan, config: ScoreConfig) -> None:
    rows_in, quarantined = counts["rows_in"], counts["rows_quarantined"]
    bad_files, num_files = counts["files_quarantined"], len(plan.wanted["files"])
    if quarantined > config.max_quarantined * rows_in or len(bad_files) > config.max_quarantined * num_files:
        example = f" First file: {bad_files[0]['path']}: {bad_files[0]['reason']}." if bad_files else ""
        raise GateError(
            f"{quarantined} of {rows_in} rows and {len(bad_files)} of {num_files} files cannot be scored, more than "
            f"max_quarantined = {config.max_quarantined:g}; the scores in {config.output} are not committed.{example} "
            "Mend the input and pass --restart, or raise --max-quarantined to commit without them."
        )


def _part_of(receipt: dict[str, Any]) -> dict[str, Any]:
    keys = ("input", "first_row", "rows_in", "rows", "rows_quarantined")
    return {"path": receipt["part"]} | {key: receipt[key] for key in keys} | receipt["files"][receipt["part"]]


def _write_bad_files(store: Store, plan: Plan) -> dict[str, Any]:
    rows = [{"path": bad.path, "row": None, "rows": bad.rows, "reason": bad.reason} for bad in plan.bad_files]
    return _write_table(store, "_quarantine/_files.parquet", quarantine_table(rows)) if rows else {}


def _write_groups(store: Store, config: ScoreConfig, bundle: PackedBundle, receipts: Receipts) -> dict[str, Any]:
    names = [name for receipt in receipts for name in receipt["files"] if name.startswith("_groups/parts/")]
    if not config.group_by or not names:
        return {}
    total = None
    for name in names:
        table = parquet.read_table(io.BytesIO(store.read(name)))
        total = add_groups([table] if total is None else [total, table])
    return _write_table(store, GROUPS_NAME, mean_groups(total, config.group_by, bundle.manifest.labels))


def _report(
    config: ScoreConfig,
    plan: Plan,
    bundle: PackedBundle,
    receipts: Receipts,
    counts: dict[str, Any],
    started_at: float,
) -> dict[str, Any]:
    profile = add_profiles(receipt["profile"] for receipt in receipts)
    reference = bundle.manifest.reference
    workers: dict[str, dict[str, Any]] = {}
    for receipt in receipts:
        worker = workers.setdefault(
            receipt["worker"], {"worker": receipt["worker"], "rows": 0, "seconds": 0.0, "units": 0}
        )
        worker["rows"] += receipt["rows"]
        worker["seconds"] += receipt["seconds"]
        worker["units"] += 1
    finished_at = time.time()
    return counts | {
        "output": config.output,
        "bundle": config.bundle,
        "bundle_id": bundle.manifest.bundle_id,
        "engine": bundle.engine,
        "variant": bundle.variant,
        "started_at": _when(started_at),
        "finished_at": _when(finished_at),
        "elapsed_s": finished_at - started_at,
        "files": len(plan.wanted["files"]),
        "parts": sum(receipt["part"] in receipt["files"] for receipt in receipts),
        "bytes_out": sum(entry["bytes"] for receipt in receipts for entry in receipt["files"].values()),
        "profile": profile,
        "reference": reference,
        "drift": drift_of(reference, profile) if reference and profile["rows"] else {},
        "workers": sorted(workers.values(), key=lambda worker: worker["worker"]),
        "crashes": sum(receipt["crashes"] for receipt in receipts),
        "duplicates": sum(receipt["duplicates"] for receipt in receipts),
        "versions": installed_versions("ray", "pyarrow", "onnxruntime", "openvino"),
    }


def _when(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time_s))


def _write_table(store: Store, name: str, table: pa.Table) -> dict[str, Any]:
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return _write(store, name, buffer.getvalue())


def _write(store: Store, name: str, data: bytes) -> dict[str, Any]:
    store.write(name, data)
    return {name: _entry(data)}


def _entry(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

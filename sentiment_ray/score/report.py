"""Builds _report.json: the counts, text profile, drift and speed of a finished run; writes nothing."""

import time
from collections.abc import Sequence
from typing import Any

from sentiment_ray.engine_specs import engine_packages
from sentiment_ray.inference.drift import add_profiles, compute_drift
from sentiment_ray.inference.predictor import PackedBundle
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.plan import Plan
from sentiment_ray.score.receipts import Receipt
from sentiment_ray.versions import installed_versions


def build_report(
    config: ScoreConfig,
    plan: Plan,
    bundle: PackedBundle,
    receipts: Sequence[Receipt],
    counts: dict[str, Any],
    started_at: float,
) -> dict[str, Any]:
    """Return the report as JSON: `counts` of rows, and sums over the receipts of all units."""
    profile = add_profiles(receipt.profile for receipt in receipts)
    reference = bundle.manifest.reference
    finished_at = time.time()
    return counts | {
        "output": config.output,
        "bundle": config.bundle,
        "bundle_id": bundle.manifest.bundle_id,
        "engine": bundle.engine,
        "variant": bundle.variant,
        "started_at": _format_time(started_at),
        "finished_at": _format_time(finished_at),
        "elapsed_s": finished_at - started_at,
        "files": len(plan.identity["files"]),
        "left_out_files": plan.left_out_files,
        "parts": sum(receipt.part in receipt.files for receipt in receipts),
        "bytes_out": sum(file.bytes for receipt in receipts for file in receipt.files.values()),
        "profile": profile,
        "reference": reference,
        "drift": compute_drift(reference, profile) if reference and profile["rows"] else {},
        "workers": _sum_by_worker(receipts),
        "crashes": sum(receipt.crashes for receipt in receipts),
        "duplicates": sum(receipt.duplicates for receipt in receipts),
        "versions": installed_versions("ray", "pyarrow", *engine_packages()),
    }


def _sum_by_worker(receipts: Sequence[Receipt]) -> list[dict[str, Any]]:
    workers: dict[str, dict[str, Any]] = {}
    for receipt in receipts:
        empty = {"worker": receipt.worker, "rows": 0, "seconds": 0.0, "units": 0}
        worker = workers.setdefault(receipt.worker, empty)
        worker["rows"] += receipt.rows
        worker["seconds"] += receipt.seconds
        worker["units"] += 1
    return sorted(workers.values(), key=lambda worker: str(worker["worker"]))


def _format_time(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time_s))

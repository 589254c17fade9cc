"""Writes the files about a whole run: the group means, the quarantined files, the report and its page."""

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.inference.predictor import PackedBundle
from sentiment_ray.manifest import format_json
from sentiment_ray.output_lock import LockedStore
from sentiment_ray.score.aggregation import compute_group_means, merge_group_sums
from sentiment_ray.score.columns import make_quarantine_table
from sentiment_ray.score.commit import Summary, describe_bytes
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.output_names import BAD_FILES_NAME, GROUPS_NAME, PAGE_NAME, REPORT_NAME, name_group_part
from sentiment_ray.score.page import write_page
from sentiment_ray.score.plan import Plan
from sentiment_ray.score.receipts import Files, Receipt
from sentiment_ray.score.report import build_report

MERGED_AT_ONCE = 64
"""Group sums of parts that are read and added up together."""


def write_summary(
    store: LockedStore,
    config: ScoreConfig,
    plan: Plan,
    bundle: PackedBundle,
    receipts: Sequence[Receipt],
    counts: dict[str, Any],
    started_at: float,
) -> Summary:
    """Write all files about a run, and return them with what the manifest says of the run."""
    files = _write_bad_files(store, plan) | _write_group_means(store, config, bundle, receipts)
    report = build_report(config, plan, bundle, receipts, counts, started_at)
    files |= _write(store, REPORT_NAME, format_json(report, indent=2).encode())
    files |= _write(store, PAGE_NAME, write_page(report).encode())
    gpus = sorted({receipt.gpu for receipt in receipts if receipt.gpu})
    manifest = {
        "format_version": 1,
        "bundle_id": bundle.manifest.bundle_id,
        "engine": bundle.engine,
        "variant": bundle.variant,
        "labels": bundle.manifest.labels,
        "config": config.model_dump(mode="json", exclude={"output", "restart", "repair", "wait", "plan"}),
        "versions": report["versions"],
    }
    return Summary(files, manifest | ({"gpus": gpus} if gpus else {}))


def _write_bad_files(store: LockedStore, plan: Plan) -> Files:
    rows = [{"path": bad.path, "row": None, "rows": bad.rows, "reason": bad.reason} for bad in plan.bad_files]
    return _write_table(store, BAD_FILES_NAME, make_quarantine_table(rows)) if rows else {}


def _write_group_means(
    store: LockedStore, config: ScoreConfig, bundle: PackedBundle, receipts: Sequence[Receipt]
) -> Files:
    names = [name_group_part(receipt.part) for receipt in receipts if name_group_part(receipt.part) in receipt.files]
    if not config.group_by or not names:
        return {}
    total: list[pa.Table] = []
    for start in range(0, len(names), MERGED_AT_ONCE):
        tables = store.map(
            lambda name: parquet.read_table(io.BytesIO(store.read(name))), names[start : start + MERGED_AT_ONCE]
        )
        total = [merge_group_sums([*total, *tables])]
    return _write_table(store, GROUPS_NAME, compute_group_means(total[0], config.group_by, bundle.manifest.labels))


def _write_table(store: LockedStore, name: str, table: pa.Table) -> Files:
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return _write(store, name, buffer.getvalue())


def _write(store: LockedStore, name: str, data: bytes) -> Files:
    store.write(name, data)
    return {name: describe_bytes(data)}

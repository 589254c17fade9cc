"""Commits a scoring run: the last steps of the protocol by which every input row ends up exactly once in the output.

The protocol. Each file is written completely or not at all (`storage`), so a crash between two steps loses nothing:
the next run with the same bundle, configuration and input resumes at the first step that is not done.

1. The driver takes the lock of the output, `_plan/lock-….json` (`lock`).
2. It writes the plan, `_plan/plan.json`: every input file, cut into units of rows (`plan`, `resume`).
3. A worker scores a unit and writes its part, then its sums by group and its quarantined rows (`scorer`, `part`).
4. The worker writes the receipt of the unit, `_receipts/….json`, which names these files with size and sha256
   (`receipts`). A unit with a valid receipt is never scored again.
5. When every unit has a receipt, `commit` checks that the rows of all receipts and of unreadable files add up to the
   rows of the plan, and that no more of them are quarantined than `max_quarantined` allows.
6. It adds the parts to a Delta Lake or Iceberg table in one atomic commit, if `sink` names one (`sinks`).
7. It writes the group means, the quarantined files and the reports, and then `_MANIFEST.json`, which names every file
   of the output with size and sha256.
8. It writes `_SUCCESS`, which holds the sha256 of the manifest. Only then the output is finished.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.errors import GateError
from sentiment_ray.inference.predictor import PackedBundle
from sentiment_ray.manifest import format_json
from sentiment_ray.output_lock import Lock, refuse_if_taken_over
from sentiment_ray.score.aggregation import compute_group_means, merge_group_sums
from sentiment_ray.score.columns import make_quarantine_table
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.crash_search import CRASH_RECORDS
from sentiment_ray.score.page import write_page
from sentiment_ray.score.plan import PLAN_NAME, Plan
from sentiment_ray.score.receipts import Files, Receipt, receipt_name
from sentiment_ray.score.report import build_report
from sentiment_ray.score.scorer import GROUP_PARTS
from sentiment_ray.score.sinks import DELTA_LOG, commit_to_sink
from sentiment_ray.storage import TEMPORARY, Store

MANIFEST_NAME = "_MANIFEST.json"
SUCCESS_NAME = "_SUCCESS"
GROUPS_NAME = "_groups/groups.parquet"

Receipts = Sequence[Receipt]


def read_committed_manifest(store: Store) -> dict[str, Any] | None:
    """Return the manifest of a finished output; None when the output is not finished."""
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
    """Do the steps 5 to 8 of the protocol and return the manifest; `receipts` are those of all units of the plan.

    GateError, before anything is written, when more is quarantined than `max_quarantined` allows. ConfigError when
    another run has taken over the output.
    """
    counts = _count_rows(plan, receipts)
    _check_quarantine(counts, plan, config)
    refuse_if_taken_over(store, config.output, lock)
    parts = [_describe_part(receipt) for receipt in receipts if receipt.part in receipt.files]
    # The sink is first: a finished output stays finished when the sink refuses the parts.
    commit_to_sink(store, config, plan, parts)
    for name in (TEMPORARY, CRASH_RECORDS, SUCCESS_NAME):
        store.remove(name)
    files = {name: entry for receipt in receipts for name, entry in receipt.files.items()}
    files |= _write_bad_files(store, plan) | _write_group_means(store, config, bundle, receipts)
    report = build_report(config, plan, bundle, receipts, counts, started_at)
    files |= _write(store, "_report.json", format_json(report, indent=2).encode())
    files |= _write(store, "_report.html", write_page(report).encode())
    for name in (PLAN_NAME, *(receipt_name(receipt.part) for receipt in receipts)):
        files[name] = _describe_bytes(store.read(name))
    files |= {name: _describe_bytes(store.read(name)) for name in store.list(DELTA_LOG)}
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
        "left_out_files": plan.left_out_files,
        "files": dict(sorted(files.items())),
    }
    gpus = sorted({receipt.gpu for receipt in receipts if receipt.gpu})
    if gpus:
        manifest["gpus"] = gpus
    refuse_if_taken_over(store, config.output, lock)
    data = (format_json(manifest, indent=1) + "\n").encode()
    store.write(MANIFEST_NAME, data)
    store.write(SUCCESS_NAME, (hashlib.sha256(data).hexdigest() + "\n").encode())
    return manifest


def _count_rows(plan: Plan, receipts: Receipts) -> dict[str, Any]:
    """Return the sums over all receipts and bad files, after checking them against the plan."""
    rows_scored = sum(receipt.rows for receipt in receipts)
    quarantined = sum(receipt.rows_quarantined for receipt in receipts) + sum(bad.rows for bad in plan.bad_files)
    is_each_once = len({receipt.part for receipt in receipts}) == len(plan.units) == len(receipts)
    if rows_scored + quarantined != plan.num_rows or not is_each_once:
        raise AssertionError(f"rows were lost or doubled: {plan.num_rows} in, {rows_scored} + {quarantined} out")
    reasons: Counter[str] = Counter()
    for receipt in receipts:
        reasons.update(receipt.reasons)
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
    bad_files, num_files = counts["files_quarantined"], len(plan.identity["files"])
    if quarantined > config.max_quarantined * rows_in or len(bad_files) > config.max_quarantined * num_files:
        example = f" First file: {bad_files[0]['path']}: {bad_files[0]['reason']}." if bad_files else ""
        raise GateError(
            f"{quarantined} of {rows_in} rows and {len(bad_files)} of {num_files} files cannot be scored, more than "
            f"max_quarantined = {config.max_quarantined:g}; the scores in {config.output} are not committed.{example} "
            "Repair the input and pass --restart, or raise --max-quarantined to commit without them."
        )


def _describe_part(receipt: Receipt) -> dict[str, Any]:
    keys = ("input", "first_row", "rows_in", "rows", "rows_quarantined")
    return {"path": receipt.part} | {key: getattr(receipt, key) for key in keys} | receipt.files[receipt.part]


def _write_bad_files(store: Store, plan: Plan) -> Files:
    rows = [{"path": bad.path, "row": None, "rows": bad.rows, "reason": bad.reason} for bad in plan.bad_files]
    return _write_table(store, "_quarantine/_files.parquet", make_quarantine_table(rows)) if rows else {}


def _write_group_means(store: Store, config: ScoreConfig, bundle: PackedBundle, receipts: Receipts) -> Files:
    names = [name for receipt in receipts for name in receipt.files if name.startswith(GROUP_PARTS + "/")]
    if not config.group_by or not names:
        return {}
    total = None
    for name in names:
        table = parquet.read_table(io.BytesIO(store.read(name)))
        total = merge_group_sums([table] if total is None else [total, table])
    return _write_table(store, GROUPS_NAME, compute_group_means(total, config.group_by, bundle.manifest.labels))


def _write_table(store: Store, name: str, table: pa.Table) -> Files:
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return _write(store, name, buffer.getvalue())


def _write(store: Store, name: str, data: bytes) -> Files:
    store.write(name, data)
    return {name: _describe_bytes(data)}


def _describe_bytes(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

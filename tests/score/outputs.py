"""Reads finished outputs as a test wants them, and rewrites one as an earlier release left it."""

import hashlib
import json
from pathlib import Path
from typing import Any

from sentiment_ray.locked_store import guard
from sentiment_ray.manifest import format_json
from sentiment_ray.output_lock import hold_lock
from sentiment_ray.score.plan_file import UnitReader, read_plan
from sentiment_ray.score.receipt_shards import drop_receipts, read_receipt_shard, read_receipts
from sentiment_ray.score.receipts import Receipt, write_receipt
from sentiment_ray.storage import open_store


def list_receipts(scores: Path | str) -> list[Receipt]:
    """Return all receipts of a finished output, in the order of the plan."""
    store = open_store(str(scores))
    plan = read_plan(store)
    assert plan
    shards = (read_receipt_shard(store, plan, shard) for shard in plan.shards)
    return [receipt for shard in shards for receipt in read_receipts(shard, plan.fingerprint)]


def list_parts(scores: Path | str) -> dict[str, Receipt]:
    """Return the receipts of an output by the part that they name."""
    return {receipt.part: receipt for receipt in list_receipts(scores) if receipt.part in receipt.files}


def drop_receipt(scores: Path, part: str) -> None:
    """Remove the receipt of a part, as if its unit had not been finished."""
    store = open_store(str(scores))
    plan = read_plan(store)
    assert plan
    with hold_lock(store, str(scores)) as lock:
        drop_receipts(guard(store, str(scores), lock), plan, {list_parts(scores)[part].unit})


def rewrite_as_earlier_release(scores: Path) -> None:
    """Rewrite plan, receipts and manifest of an output as a release wrote them that had no shards."""
    store, receipts = open_store(str(scores)), list_receipts(scores)
    plan = read_plan(store)
    assert plan
    units = UnitReader(store, plan)
    keys = ("path", "version", "part", "row_groups", "group_rows", "first_row")
    files = [
        {"path": row["path"].decode(), "name": row["name"].decode(), "bytes": row["bytes"], "version": row["version"]}
        for row in plan.identity.files.to_pylist()
    ]
    old_plan = {
        "fingerprint": plan.fingerprint,
        "wanted": {"bundle": plan.identity.bundle, "settings": plan.identity.settings, "files": files},
        "units": [{key: getattr(units.read(number), key) for key in keys} for number in range(plan.num_units)],
        "bad_files": [vars(bad) for bad in plan.bad_files],
    }
    for name in [*(shard.name for shard in plan.shards), *plan.file_shards, "_receipts"]:
        store.remove(name)
    store.write("_plan/plan.json", format_json(old_plan).encode())
    manifest = json.loads(store.read("_MANIFEST.json"))
    del manifest["num_parts"], manifest["receipts"]
    for receipt in receipts:
        write_receipt(store, receipt)
    present = [name for name in store.list() if name not in ("_MANIFEST.json", "_SUCCESS") and "lock-" not in name]
    manifest |= {
        "format_version": 1,
        "parts": [_describe_part(receipt) for receipt in receipts if receipt.part in receipt.files],
        "files": {name: {"bytes": len(store.read(name)), "sha256": store.sha256(name)} for name in present},
    }
    data = (format_json(manifest, indent=1) + "\n").encode()
    store.write("_MANIFEST.json", data)
    store.write("_SUCCESS", (hashlib.sha256(data).hexdigest() + "\n").encode())


def _describe_part(receipt: Receipt) -> dict[str, Any]:
    keys = ("input", "first_row", "rows_in", "rows", "rows_quarantined")
    values = {key: getattr(receipt, key) for key in keys}
    return {"path": receipt.part} | values | receipt.files[receipt.part].describe()

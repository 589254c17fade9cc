"""What a finished unit leaves behind so that no later run does it again; knows no texts."""

import json
from collections.abc import Mapping
from typing import Any

from sentiment_ray.score.plan import Plan, Unit
from sentiment_ray.storage import FileInfo, Store

RECEIPTS = "_receipts"


def receipt_name(part: str) -> str:
    """Return the name of the receipt of a part."""
    return f"{RECEIPTS}/{part}.json"


def write_receipt(store: Store, receipt: Mapping[str, Any]) -> None:
    """Write the receipt of a unit, after every file that it names."""
    store.write(receipt_name(receipt["part"]), json.dumps(receipt).encode())


def read_receipt(store: Store, unit: Unit, fingerprint: str) -> dict[str, Any] | None:
    """Return a unit's receipt, if it is of this plan and the files that it names are there with their sizes."""
    receipt = _parse(store, unit, fingerprint)
    if receipt is None:
        return None
    for name, entry in receipt["files"].items():
        try:
            size = store.fs.info(store.path(name))["size"]
        except FileNotFoundError:
            return None
        if size != entry["bytes"]:
            return None
    return receipt


def read_receipts(store: Store, plan: Plan) -> dict[str, dict[str, Any]]:
    """Return the valid receipts of a plan's units by part; one listing of the output tells which files are there."""
    found = store.list()
    receipts = {}
    for unit in plan.units:
        if receipt_name(unit.part) in found:
            receipt = _parse(store, unit, plan.fingerprint)
            if receipt and _is_whole(receipt, found):
                receipts[unit.part] = receipt
    return receipts


def drop_damaged(store: Store, plan: Plan) -> int:
    """Remove receipts of which a file has other bytes than were written, and return how many units have none then.

    Every byte is read, so it is done where a finished output is asked for again with --restart.
    """
    receipts = read_receipts(store, plan)
    for part, receipt in receipts.items():
        if any(store.sha256(name) != entry["sha256"] for name, entry in receipt["files"].items()):
            store.remove(receipt_name(part))
    return len(plan.units) - len(read_receipts(store, plan))


def _parse(store: Store, unit: Unit, fingerprint: str) -> dict[str, Any] | None:
    """Return the receipt of a unit's part if it is of this plan and of these rows."""
    try:
        receipt = json.loads(store.read(receipt_name(unit.part)))
    except (FileNotFoundError, ValueError):
        return None
    wanted = {"fingerprint": fingerprint, "input": unit.path, "first_row": unit.first_row}
    is_wanted = isinstance(receipt, dict) and all(receipt.get(key) == value for key, value in wanted.items())
    return receipt if is_wanted else None


def _is_whole(receipt: Mapping[str, Any], found: Mapping[str, FileInfo]) -> bool:
    return all(name in found and found[name].bytes == entry["bytes"] for name, entry in receipt["files"].items())

"""What a finished unit leaves behind so that no later run does it again; knows no texts."""

import json
from collections.abc import Collection, Mapping
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


def find_damaged(store: Store, files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names of the files that are missing or have other bytes than were written; every byte is read."""

    def is_whole(name: str) -> bool:
        try:
            return store.sha256(name) == files[name]["sha256"]
        except FileNotFoundError:
            return False

    return [name for name in files if not is_whole(name)]


def drop_receipts(store: Store, plan: Plan, damaged: Collection[str]) -> None:
    """Remove the receipts that are damaged or name a file that is, so that their units are scored again."""
    for part, receipt in read_receipts(store, plan).items():
        if not {receipt_name(part), *receipt["files"]}.isdisjoint(damaged):
            store.remove(receipt_name(part))


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

"""Receipts: proof that a unit is done, so that no later run scores it again; knows no texts."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sentiment_ray.manifest import format_json
from sentiment_ray.score.plan import Plan, Unit
from sentiment_ray.storage import FileInfo, Store

RECEIPTS = "_receipts"

Files = dict[str, dict[str, Any]]
"""`bytes` and `sha256` of files, by name."""


@dataclass(frozen=True)
class Receipt:
    """What a worker writes when a unit is done; the fields are the keys of the file."""

    fingerprint: str
    """Fingerprint of the plan."""
    part: str
    """Name of the unit's part."""
    input: str
    """Path of the input file."""
    first_row: int
    """Index of the unit's first row in the input file."""
    rows_in: int
    """Rows that were read: the sum of the next two."""
    rows: int
    """Rows in the part."""
    rows_quarantined: int
    reasons: dict[str, int]
    """Quarantined rows by reason."""
    duplicates: int
    """Rows whose scores were taken from an equal text."""
    profile: dict[str, Any]
    """Histograms of the scored texts; see `sentiment_ray.inference.drift`."""
    files: Files
    """The files that the unit wrote."""
    crashes: int
    """Workers that died over this unit."""
    worker: str
    """`host:process id` of the worker."""
    started_at: float
    """Seconds since 1970."""
    seconds: float
    """Time that the unit took."""
    gpu: str | None = None
    """Name of the GPU that scored the unit, on which its bytes depend; left out of the file where the CPU did."""


def receipt_name(part: str) -> str:
    """Return the name of the receipt of a part."""
    return f"{RECEIPTS}/{part}.json"


def write_receipt(store: Store, receipt: Receipt) -> None:
    """Write the receipt of a unit; every file that it names must have been written before."""
    values = {key: value for key, value in asdict(receipt).items() if key != "gpu" or value is not None}
    store.write(receipt_name(receipt.part), format_json(values).encode())


def parse_receipt(values: Mapping[str, Any]) -> Receipt:
    """Return the receipt that a JSON object describes; KeyError when it lacks a key."""
    return Receipt(
        **{field.name: values[field.name] for field in fields(Receipt) if field.name != "gpu"}, gpu=values.get("gpu")
    )


def read_receipt(store: Store, unit: Unit, fingerprint: str) -> Receipt | None:
    """Return the receipt of a unit if it belongs to this plan and its files are there with their sizes."""
    receipt = _read(store, unit, fingerprint)
    if receipt is None:
        return None
    for name, entry in receipt.files.items():
        try:
            size = store.fs.info(store.path(name))["size"]
        except FileNotFoundError:
            return None
        if size != entry["bytes"]:
            return None
    return receipt


def read_receipts(store: Store, plan: Plan) -> dict[str, Receipt]:
    """Return the valid receipts of a plan by part; one listing of the output shows which files are there."""
    present = store.list()
    receipts = {}
    for unit in plan.units:
        if receipt_name(unit.part) in present:
            receipt = _read(store, unit, plan.fingerprint)
            if receipt and _has_all_files(receipt, present):
                receipts[unit.part] = receipt
    return receipts


def find_damaged(store: Store, files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names of the files that are missing or differ from what was written; every byte is read."""

    def is_whole(name: str) -> bool:
        try:
            return store.sha256(name) == files[name]["sha256"]
        except FileNotFoundError:
            return False

    return [name for name in files if not is_whole(name)]


def remove_damaged_receipts(store: Store, plan: Plan, damaged: Collection[str]) -> None:
    """Remove every receipt that is damaged or names a damaged file, so that its unit is scored again."""
    for part, receipt in read_receipts(store, plan).items():
        if not {receipt_name(part), *receipt.files}.isdisjoint(damaged):
            store.remove(receipt_name(part))


def _read(store: Store, unit: Unit, fingerprint: str) -> Receipt | None:
    """Return the receipt of a unit's part if it is of this plan and of these rows."""
    try:
        receipt = parse_receipt(json.loads(store.read(receipt_name(unit.part))))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    is_of_unit = (receipt.fingerprint, receipt.input, receipt.first_row) == (fingerprint, unit.path, unit.first_row)
    return receipt if is_of_unit else None


def _has_all_files(receipt: Receipt, present: Mapping[str, FileInfo]) -> bool:
    return all(name in present and present[name].bytes == entry["bytes"] for name, entry in receipt.files.items())

"""Receipts: proof that a unit is done, so that no later run scores it again; knows no texts."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sentiment_ray.manifest import format_json
from sentiment_ray.score.output_names import name_receipt
from sentiment_ray.score.plan import Plan, Unit
from sentiment_ray.storage import FileInfo, Store


@dataclass(frozen=True)
class WrittenFile:
    """A file of an output as its writer knows it."""

    bytes: int
    sha256: str
    version: str = ""
    """What the store said of the file right after it was written, which changes with its content; see `FileInfo`."""

    def describe(self) -> dict[str, Any]:
        """Return the entry of the file in the manifest."""
        return {"bytes": self.bytes, "sha256": self.sha256}


Files = dict[str, WrittenFile]
"""Files by name."""


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


def write_receipt(store: Store, receipt: Receipt) -> None:
    """Write the receipt of a unit; every file that it names must have been written before."""
    values = {key: value for key, value in asdict(receipt).items() if key != "gpu" or value is not None}
    values["files"] = {
        name: file.describe() | ({"version": file.version} if file.version else {})
        for name, file in receipt.files.items()
    }
    store.write(name_receipt(receipt.part), format_json(values).encode())


def parse_receipt(values: Mapping[str, Any]) -> Receipt:
    """Return the receipt that a JSON object describes; KeyError or TypeError when it is none."""
    given = {field.name: values[field.name] for field in fields(Receipt) if field.name not in ("gpu", "files")}
    files = {name: WrittenFile(**entry) for name, entry in values["files"].items()}
    return Receipt(**given, files=files, gpu=values.get("gpu"))


def read_receipt(store: Store, unit: Unit, fingerprint: str) -> Receipt | None:
    """Return the receipt of a unit if it belongs to this plan and its files are there with their sizes."""
    receipt = read_bare_receipt(store, unit, fingerprint)
    if receipt is None:
        return None
    present = {name: store.describe(name) for name in receipt.files}
    return receipt if _has_all_files(receipt, present) else None


def read_receipts(store: Store, plan: Plan) -> dict[str, Receipt]:
    """Return the valid receipts of a plan by part; one listing of the output shows which files are there."""
    present = store.list()
    named = [unit for unit in plan.units if name_receipt(unit.part) in present]
    receipts = store.map(lambda unit: read_bare_receipt(store, unit, plan.fingerprint), named)
    return {receipt.part: receipt for receipt in receipts if receipt and _has_all_files(receipt, present)}


def read_bare_receipt(store: Store, unit: Unit, fingerprint: str) -> Receipt | None:
    """Return the receipt of a unit's part if it is of this plan and of these rows, whatever became of its files."""
    try:
        receipt = parse_receipt(json.loads(store.read(name_receipt(unit.part))))
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    is_of_unit = (receipt.fingerprint, receipt.input, receipt.first_row) == (fingerprint, unit.path, unit.first_row)
    return receipt if is_of_unit else None


def _has_all_files(receipt: Receipt, present: Mapping[str, FileInfo | None]) -> bool:
    found = {name: present.get(name) for name in receipt.files}
    return all(info is not None and info.bytes == receipt.files[name].bytes for name, info in found.items())

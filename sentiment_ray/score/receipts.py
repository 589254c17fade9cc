"""Receipts of single units: proof that a unit is done, so that no later run scores it again; knows no texts."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sentiment_ray.file_versions import FileInfo
from sentiment_ray.manifest import format_json
from sentiment_ray.score.file_tables import Files, WrittenFile
from sentiment_ray.score.output_names import name_receipt
from sentiment_ray.score.plan import Unit
from sentiment_ray.storage import Store


@dataclass(frozen=True)
class Receipt:
    """What a worker writes when a unit is done; the fields except for `unit` are the keys of the file."""

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
    unit: int = 0
    """Number of the unit in the plan. A single receipt does not have it; its name tells the unit."""
    gpu: str | None = None
    """Name of the GPU that scored the unit, on which its bytes depend; left out of the file where the CPU did."""


def write_receipt(store: Store, receipt: Receipt) -> None:
    """Write the receipt of a unit; every file that it names must have been written before."""
    left_out = {"unit"} | ({"gpu"} if receipt.gpu is None else set())
    values = {key: value for key, value in asdict(receipt).items() if key not in left_out}
    values["files"] = {
        name: file.describe() | ({"version": file.version} if file.version else {})
        for name, file in receipt.files.items()
    }
    store.write(name_receipt(receipt.part), format_json(values).encode())


def parse_receipt(values: Mapping[str, Any], unit: int) -> Receipt:
    """Return the receipt of a unit that a JSON object describes; KeyError or TypeError when it is none."""
    given = {field.name: values[field.name] for field in fields(Receipt) if field.name not in ("gpu", "files", "unit")}
    files = {name: WrittenFile(**entry) for name, entry in values["files"].items()}
    return Receipt(**given, files=files, unit=unit, gpu=values.get("gpu"))


def read_bare_receipt(store: Store, unit: Unit, fingerprint: str) -> Receipt | None:
    """Return the single receipt of a unit if it is of this plan and of these rows, whatever became of its files."""
    try:
        receipt = parse_receipt(json.loads(store.read(name_receipt(unit.part))), unit.number)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    is_of_unit = (receipt.fingerprint, receipt.input, receipt.first_row) == (fingerprint, unit.path, unit.first_row)
    return receipt if is_of_unit else None


def has_all_files(receipt: Receipt, present: Mapping[str, FileInfo | None]) -> bool:
    """Whether the files that a receipt names are there with their sizes."""
    found = {name: present.get(name) for name in receipt.files}
    return all(info is not None and info.bytes == receipt.files[name].bytes for name, info in found.items())

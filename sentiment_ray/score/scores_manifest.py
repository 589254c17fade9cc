"""The manifest of a finished output: sums, and how to find every file of it with size and sha256; reads no scores."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sentiment_ray.manifest import format_json
from sentiment_ray.score.file_tables import Files, WrittenFile
from sentiment_ray.score.output_names import MANIFEST_NAME, SUCCESS_NAME
from sentiment_ray.score.plan import BadFile
from sentiment_ray.storage import Store

FORMAT_VERSION = 2
"""Version 1, of earlier releases, names every part and every file. Version 2 names receipt shards, which name them."""


@dataclass(frozen=True)
class PartEntry:
    """A part and the rows that it was made from."""

    path: str
    rows_in: int
    rows: int
    rows_quarantined: int
    bytes: int
    sha256: str
    input: str = ""
    first_row: int = 0


@dataclass(frozen=True)
class RowCounts:
    """How many rows a run has read, and what became of them."""

    rows_in: int
    rows_scored: int
    rows_quarantined: int
    quarantine_reasons: Mapping[str, int]
    files_quarantined: Sequence[BadFile]


@dataclass(frozen=True)
class RunFacts:
    """What the manifest says of a run beside its rows and files."""

    bundle_id: str = ""
    engine: str = ""
    variant: str = ""
    labels: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    gpus: Sequence[str] = ()
    """Names of the GPUs that have scored."""


@dataclass(frozen=True)
class ScoresManifest:
    """The manifest of a finished output."""

    fingerprint: str
    """Fingerprint of the plan."""
    counts: RowCounts
    facts: RunFacts
    num_parts: int
    files: Files
    """Every file that belongs to no unit, receipt shards among them; in version 1 every file."""
    receipts: Sequence[str] = ()
    """Names of the receipt shards, in the order of the plan."""
    left_out_files: Mapping[str, Any] = field(default_factory=dict)
    parts: Sequence[PartEntry] = ()
    """All parts, in version 1."""
    format_version: int = FORMAT_VERSION


def format_manifest(manifest: ScoresManifest) -> bytes:
    """Return the bytes of a manifest, of version 2."""
    facts = asdict(manifest.facts)
    if not facts["gpus"]:
        del facts["gpus"]
    values = {
        "format_version": manifest.format_version,
        "fingerprint": manifest.fingerprint,
        **asdict(manifest.counts),
        **facts,
        "num_parts": manifest.num_parts,
        "left_out_files": manifest.left_out_files,
        "receipts": manifest.receipts,
        "files": {name: manifest.files[name].describe() for name in sorted(manifest.files)},
    }
    return (format_json(values, indent=1) + "\n").encode()


def parse_manifest(data: bytes) -> ScoresManifest:
    """Return the manifest that these bytes describe, of version 1 or 2."""
    values = json.loads(data)
    parts = tuple(PartEntry(**part) for part in values.get("parts", ()))
    bad_files = tuple(BadFile(**bad) for bad in values["files_quarantined"])
    return ScoresManifest(
        fingerprint=values["fingerprint"],
        counts=RowCounts(**_select(RowCounts, values) | {"files_quarantined": bad_files}),
        facts=RunFacts(**_select(RunFacts, values)),
        num_parts=values.get("num_parts", len(parts)),
        files={name: WrittenFile(**entry) for name, entry in values["files"].items()},
        receipts=tuple(values.get("receipts", ())),
        left_out_files=values.get("left_out_files", {}),
        parts=parts,
        format_version=values["format_version"],
    )


def stamp_manifest(data: bytes) -> bytes:
    """Return what _SUCCESS holds when a manifest has these bytes."""
    return (hashlib.sha256(data).hexdigest() + "\n").encode()


def read_committed_manifest(store: Store) -> ScoresManifest | None:
    """Return the manifest of a finished output; None when the output is not finished."""
    try:
        data, stamp = store.read(MANIFEST_NAME), store.read(SUCCESS_NAME)
    except FileNotFoundError:
        return None
    return parse_manifest(data) if stamp.strip() == stamp_manifest(data).strip() else None


def _select(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    names: Iterable[str] = (each.name for each in fields(kind))
    return {name: values[name] for name in names if name in values}

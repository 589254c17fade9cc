"""Receipts of neighbouring units in one Parquet file: written from single receipts, which are removed then.

A worker writes the receipt of a unit by itself, as `receipts` describes. Once a shard of the plan is done, the receipts
of its units are merged into a receipt shard:

1. The receipts of single units are read, and those of the receipt shard that is there already, if it is of this plan.
   Of two receipts of one unit the single one counts: it was written later.
2. The receipt shard is written in one step.
3. Only then the single receipts that it holds are removed.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from sentiment_ray.locked_store import REMOVED_AT_ONCE, LockedStore
from sentiment_ray.manifest import format_json
from sentiment_ray.output_lock import refuse_if_taken_over
from sentiment_ray.paths import decode_name, encode_name
from sentiment_ray.score.columns import PLAN_KEY
from sentiment_ray.score.file_tables import WRITTEN_SCHEMA, WrittenFile
from sentiment_ray.score.output_names import RECEIPTS, name_receipt, name_receipt_shard
from sentiment_ray.score.plan import Plan, PlanShard, Unit, list_parts, make_unit
from sentiment_ray.score.plan_file import read_units
from sentiment_ray.score.receipts import Receipt, has_all_files, read_bare_receipt
from sentiment_ray.score.totals import Totals, add_totals, count_receipt, describe_totals, parse_totals
from sentiment_ray.storage import Store

TOTALS_KEY = b"sentiment_ray.totals"
"""Key of the sums over all receipts in the metadata of a receipt shard."""
CHECKSUM_KEY = b"sentiment_ray.totals_sha256"
"""Key of the sha256 of these sums. Pages have checksums of their own; the metadata of Parquet has none."""
RECEIPT_SCHEMA = pa.schema(
    [
        ("unit", pa.int64()),
        ("part", pa.binary()),
        ("input", pa.binary()),
        ("first_row", pa.int64()),
        ("rows_in", pa.int64()),
        ("rows", pa.int64()),
        ("rows_quarantined", pa.int64()),
        ("reasons", pa.string()),
        ("duplicates", pa.int64()),
        ("profile", pa.string()),
        ("file_names", pa.list_(pa.binary())),
        ("file_bytes", pa.list_(pa.int64())),
        ("file_sha256", pa.list_(pa.string())),
        ("file_versions", pa.list_(pa.string())),
        ("crashes", pa.int64()),
        ("worker", pa.string()),
        ("started_at", pa.float64()),
        ("seconds", pa.float64()),
        ("gpu", pa.string()),
    ]
)
"""A receipt; `reasons` and `profile` are JSON, names those of `encode_name`. The fields are those of `Receipt`."""
FILE_COLUMNS = [
    "unit",
    "part",
    "rows_in",
    "rows",
    "rows_quarantined",
    "file_names",
    "file_bytes",
    "file_sha256",
    "file_versions",
]
"""What a commit reads of a receipt shard to compare it with the output."""
SIZE_COLUMNS = ["unit", "rows", "rows_quarantined", "file_names", "file_bytes"]
"""What a run reads of a receipt shard to find what is finished."""


@dataclass(frozen=True)
class ReceiptShard:
    """What a receipt shard holds."""

    table: pa.Table
    """Rows of RECEIPT_SCHEMA, or some of its columns."""
    totals: Totals
    file: WrittenFile
    """Size and sha256 of the shard itself."""


def read_receipt_shard(
    store: Store, plan: Plan, shard: PlanShard, *, columns: list[str] | None = None
) -> ReceiptShard | None:
    """Return the receipts of a shard of the plan; None when there are none, or when they are of another plan."""
    try:
        data = store.read(name_receipt_shard(shard.index))
    except FileNotFoundError:
        return None
    return parse_receipt_shard(data, plan.fingerprint, columns=columns)


def parse_receipt_shard(data: bytes, fingerprint: str, *, columns: list[str] | None = None) -> ReceiptShard | None:
    """Return what the bytes of a receipt shard say; None when they are damaged or of another plan."""
    try:
        file = parquet.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        metadata = file.metadata.metadata or {}
        if metadata.get(PLAN_KEY) != fingerprint.encode():
            return None
        if hashlib.sha256(metadata[TOTALS_KEY]).hexdigest().encode() != metadata[CHECKSUM_KEY]:
            return None
        totals = parse_totals(json.loads(metadata[TOTALS_KEY]))
        table = file.read(columns=columns, use_threads=False)
        wanted = [RECEIPT_SCHEMA.field(name) for name in columns or RECEIPT_SCHEMA.names]
        if list(table.schema) != wanted or table.num_rows != totals.units:
            return None
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
        return None
    return ReceiptShard(table, totals, WrittenFile(len(data), hashlib.sha256(data).hexdigest()))


def find_receipt(store: Store, plan: Plan, unit: Unit) -> Receipt | None:
    """Return the receipt of a unit, a single one or that of its shard, if its files are there with their sizes."""
    receipt = read_bare_receipt(store, unit, plan.fingerprint)
    if receipt is None and store.describe(name_receipt_shard(unit.number // plan.shard_units)):
        merged = read_receipt_shard(store, plan, plan.find_shard(unit.number))
        rows = merged.table.filter(pc.field("unit") == unit.number).to_pylist() if merged else []
        receipt = _parse_row(rows[0], plan.fingerprint) if rows else None
    if receipt is None:
        return None
    present = {name: store.describe(name) for name in receipt.files}
    return receipt if has_all_files(receipt, present) else None


def merge_receipts(store: LockedStore, plan: Plan, shard: PlanShard, single: Collection[str] | None = None) -> None:
    """Merge the single receipts of a shard's units into its receipt shard; without any, nothing is changed.

    `single` are the names of single receipts, as a listing of the output has them.
    """
    units = read_units(store, shard)
    present = set(store.list(RECEIPTS)) if single is None else single
    indices = [index for index, part in enumerate(list_parts(units)) if name_receipt(part) in present]
    waiting = [make_unit(units, index, shard.first_unit) for index in indices]
    found = [
        receipt
        for receipt in store.map(lambda unit: read_bare_receipt(store, unit, plan.fingerprint), waiting)
        if receipt
    ]
    if not found:
        return
    before = read_receipt_shard(store, plan, shard)
    receipts = {receipt.unit: receipt for receipt in read_receipts(before, plan.fingerprint)}
    receipts |= {receipt.unit: receipt for receipt in found}
    _write_shard(store, plan, shard, receipts.values())
    _remove_files(store, [name_receipt(receipt.part) for receipt in found])


def drop_receipts(store: LockedStore, plan: Plan, units: Collection[int]) -> None:
    """Remove the receipts of units, so that they are scored again."""
    for shard in plan.shards:
        dropped = {unit for unit in units if unit in shard.numbers}
        if not dropped:
            continue
        before = read_receipt_shard(store, plan, shard)
        kept = [receipt for receipt in read_receipts(before, plan.fingerprint) if receipt.unit not in dropped]
        if before and len(kept) < before.table.num_rows:
            _write_shard(store, plan, shard, kept)
        parts = list_parts(read_units(store, shard))
        _remove_files(store, [name_receipt(parts[unit - shard.first_unit]) for unit in sorted(dropped)])


def read_receipts(shard: ReceiptShard | None, fingerprint: str) -> list[Receipt]:
    """Return the receipts of a receipt shard that was read with all columns."""
    return [_parse_row(row, fingerprint) for row in shard.table.to_pylist()] if shard else []


def list_sizes(table: pa.Table) -> pa.Table:
    """Return unit, name and bytes of the files that receipts name, of SIZE_COLUMNS."""
    counts = table["file_names"].combine_chunks().value_lengths().fill_null(0).to_numpy()
    names, sizes = (table[name].combine_chunks().flatten() for name in ("file_names", "file_bytes"))
    units = pa.array(table["unit"].to_numpy().repeat(counts))
    return pa.table({"unit": units, "name": names, "bytes": sizes})


def list_written(table: pa.Table) -> pa.Table:
    """Return the files that receipts name, as a table of WRITTEN_SCHEMA."""
    names = table["file_names"].combine_chunks()
    counts = names.value_lengths().fill_null(0).to_numpy()
    units = table["unit"].to_numpy().repeat(counts)
    values = [table[f"file_{name}"].combine_chunks().flatten() for name in ("names", "bytes", "versions", "sha256")]
    return pa.table([pa.array(units), *values], schema=WRITTEN_SCHEMA)


def _remove_files(store: LockedStore, names: Sequence[str]) -> None:
    """Remove files as `LockedStore.remove_file`, with one look at the lock for many."""
    for start in range(0, len(names), REMOVED_AT_ONCE):
        refuse_if_taken_over(store, store.output, store.lock)
        store.map(lambda name: Store.remove_file(store, name), names[start : start + REMOVED_AT_ONCE])


def _write_shard(store: LockedStore, plan: Plan, shard: PlanShard, receipts: Iterable[Receipt]) -> None:
    ordered = sorted(receipts, key=lambda receipt: receipt.unit)
    write_receipt_table(store, plan, shard, make_receipt_table(ordered), add_totals(map(count_receipt, ordered)))


def write_receipt_table(store: Store, plan: Plan, shard: PlanShard, table: pa.Table, totals: Totals) -> None:
    """Write a receipt shard: rows of RECEIPT_SCHEMA, in the order of their units, and the sums over them."""
    sums = format_json(describe_totals(totals)).encode()
    metadata = {PLAN_KEY: plan.fingerprint, TOTALS_KEY: sums, CHECKSUM_KEY: hashlib.sha256(sums).hexdigest()}
    buffer = pa.BufferOutputStream()
    parquet.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd", write_page_checksum=True)
    store.write(name_receipt_shard(shard.index), buffer.getvalue().to_pybytes())


def make_receipt_table(receipts: Iterable[Receipt]) -> pa.Table:
    """Return receipts as a table of RECEIPT_SCHEMA."""
    return pa.Table.from_pylist([_make_row(receipt) for receipt in receipts], schema=RECEIPT_SCHEMA)


def _make_row(receipt: Receipt) -> dict[str, Any]:
    files = receipt.files
    plain = {name: getattr(receipt, name) for name in RECEIPT_SCHEMA.names if hasattr(receipt, name)}
    return plain | {
        "reasons": format_json(receipt.reasons),
        "profile": format_json(receipt.profile),
        "part": encode_name(receipt.part),
        "input": encode_name(receipt.input),
        "file_names": list(map(encode_name, files)),
        "file_bytes": [file.bytes for file in files.values()],
        "file_sha256": [file.sha256 for file in files.values()],
        "file_versions": [file.version for file in files.values()],
    }


def _parse_row(row: dict[str, Any], fingerprint: str) -> Receipt:
    columns = (row[f"file_{name}"] for name in ("names", "bytes", "sha256", "versions"))
    files = {decode_name(name): WrittenFile(*rest) for name, *rest in zip(*columns, strict=True)}
    plain = {field.name: row[field.name] for field in fields(Receipt) if field.name in row}
    values = {"reasons": json.loads(row["reasons"]), "profile": json.loads(row["profile"])}
    values |= {name: decode_name(row[name]) for name in ("part", "input")}
    return Receipt(**plain | values, fingerprint=fingerprint, files=files)

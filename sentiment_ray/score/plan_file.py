"""Writes and reads a plan: `plan.json`, and Parquet shards with its units and input files; makes no plan itself."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from sentiment_ray.errors import DataError
from sentiment_ray.manifest import format_json
from sentiment_ray.paths import decode_name, encode_name, to_utf8
from sentiment_ray.score.footers import NO_COLUMNS
from sentiment_ray.score.identity import FILE_SCHEMA, Identity, make_file_table
from sentiment_ray.score.output_names import PLAN_NAME, name_file_shard, name_unit_shard
from sentiment_ray.score.pins import parse_pins
from sentiment_ray.score.plan import (
    BadFile,
    NewPlan,
    Plan,
    PlanShard,
    Unit,
    count_rows,
    list_parts,
    make_unit,
    parse_unit,
)
from sentiment_ray.storage import Store

FORMAT_VERSION = 2
"""Version 1, of earlier releases, had no number: plan.json named every file and every unit."""
SHARD_FILES = 100_000
"""Input files of a shard."""
FILE_SHARD_SCHEMA = pa.schema([*FILE_SCHEMA, ("rows", pa.int64()), ("reason", pa.string())])
"""An input file. One that cannot be scored has a reason, and the rows that its footer names."""
CACHED_SHARDS = 2
"""Shards that a UnitReader keeps: a worker may go back to the shard before."""


def write_plan(store: Store, new: NewPlan) -> Plan:
    """Write a plan, the shards first; plan.json makes it count. Return the plan with its shards.

    From then on a run with the same fingerprint continues this plan.
    """
    first_units = [sum(table.num_rows for table in new.tables[:index]) for index in range(len(new.tables))]
    shards = store.map(
        lambda index: _write_units(store, index, new.tables[index], first_units[index]), range(len(new.tables))
    )
    tables = _make_file_shards(new.plan)
    files = store.map(lambda index: _write_shard(store, name_file_shard(index), tables[index]), range(len(tables)))
    plan = replace(new.plan, shards=shards, file_shards=tuple(entry["name"] for entry in files))
    values: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "fingerprint": plan.fingerprint,
        "bundle": plan.identity.bundle,
        "settings": plan.identity.settings,
        "shards": [asdict(shard) for shard in shards],
        "file_shards": files,
    }
    if plan.pins:
        values["pins"] = asdict(plan.pins)
    if plan.types.names:  # most plans need none; Arrow's own format keeps every detail of a type
        values["types"] = base64.b64encode(plan.types.serialize().to_pybytes()).decode()
    if plan.left_out_files:
        values["left_out_files"] = plan.left_out_files
    store.write(PLAN_NAME, format_json(values).encode())
    return plan


def read_plan(store: Store) -> Plan | None:
    """Return the plan in an output, or None; DataError when it cannot be read."""
    try:
        value = json.loads(store.read(PLAN_NAME))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(f"{store.path(PLAN_NAME)} cannot be read ({error}). Pass --restart to begin again.") from None
    try:
        version = value.get("format_version", 1)
        if version == FORMAT_VERSION:
            return _parse_plan(store, value)
        if version == 1:
            return _parse_old_plan(value)
    except (KeyError, TypeError, AttributeError, ValueError, pa.ArrowException):
        pass
    raise DataError(f"{store.path(PLAN_NAME)} is not a plan of this release. Pass --restart to begin again.")


def read_units(store: Store, shard: PlanShard) -> pa.Table:
    """Return the units of a shard as a table of UNIT_SCHEMA; DataError when they are not those of the plan."""
    return _read_shard(store, shard.name, shard.sha256)


def iterate_part_names(store: Store, plan: Plan) -> Iterator[str]:
    """Yield the names of the parts of a plan, in order; errors as `read_units`."""
    yield from (unit.part for unit in plan.old_units)
    for shard in plan.shards:
        yield from list_parts(read_units(store, shard))


@dataclass
class UnitReader:
    """Reads single units of a plan, and keeps the shards that it has read last."""

    store: Store
    plan: Plan
    _tables: dict[str, pa.Table] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, number: int) -> Unit:
        """Return the unit with this number; errors as `read_units`."""
        if self.plan.old_units:
            return self.plan.old_units[number]
        shard = self.plan.find_shard(number)
        with self._lock:
            if shard.name not in self._tables:
                while len(self._tables) >= CACHED_SHARDS:
                    del self._tables[next(iter(self._tables))]
                self._tables[shard.name] = read_units(self.store, shard)
            table = self._tables[shard.name]
        return make_unit(table, number - shard.first_unit, shard.first_unit)


def _write_units(store: Store, index: int, table: pa.Table, first_unit: int) -> PlanShard:
    entry = _write_shard(store, name_unit_shard(index), table)
    return PlanShard(**entry, index=index, first_unit=first_unit, num_units=table.num_rows, num_rows=count_rows(table))


def _write_shard(store: Store, name: str, table: pa.Table) -> dict[str, Any]:
    """Write a table, and return name, bytes and sha256 of its file."""
    buffer = pa.BufferOutputStream()
    parquet.write_table(table, buffer, compression="zstd")
    data = buffer.getvalue().to_pybytes()
    store.write(name, data)
    return {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _read_shard(store: Store, name: str, sha256: str) -> pa.Table:
    try:
        data = store.read(name)
    except FileNotFoundError:
        data = b""
    if hashlib.sha256(data).hexdigest() != sha256:
        found = "is not the one that plan.json names" if data else "is missing"
        raise DataError(f"{store.path(name)} {found}. Pass --restart to begin again.")
    return parquet.ParquetFile(pa.BufferReader(data)).read(use_threads=False)


def _make_file_shards(plan: Plan) -> list[pa.Table]:
    """Return the input files as tables of FILE_SHARD_SCHEMA, with the reason of each that cannot be scored."""
    bad = {encode_name(file.path): file for file in plan.bad_files}
    tables = []
    for start in range(0, max(1, plan.identity.num_files), SHARD_FILES):
        files = plan.identity.files.slice(start, SHARD_FILES)
        found = [bad.get(path) for path in files["path"].to_pylist()] if bad else [None] * files.num_rows
        rows, reasons = [each and each.rows for each in found], [each and to_utf8(each.reason) for each in found]
        tables.append(pa.table([*files.columns, rows, reasons], schema=FILE_SHARD_SCHEMA))
    return tables


def _parse_plan(store: Store, value: dict[str, Any]) -> Plan:
    shards = tuple(PlanShard(**shard) for shard in value["shards"])
    entries: Sequence[dict[str, Any]] = value["file_shards"]
    tables = store.map(lambda entry: _read_shard(store, entry["name"], entry["sha256"]), entries)
    files = pa.concat_tables(tables).combine_chunks()
    bad = files.filter(pc.is_valid(files["reason"]))
    return Plan(
        value["fingerprint"],
        Identity(value["bundle"], value["settings"], files.select(FILE_SCHEMA.names)),
        [BadFile(decode_name(row["path"]), row["rows"], row["reason"]) for row in bad.to_pylist()],
        value.get("left_out_files", {}),
        _parse_types(value),
        parse_pins(value.get("pins")),
        shards,
        tuple(entry["name"] for entry in entries),
    )


def _parse_old_plan(value: dict[str, Any]) -> Plan:
    """Return a plan that an earlier release wrote as one document."""
    wanted = value["wanted"]
    files = make_file_table((file["path"], file["name"], file["bytes"], file["version"]) for file in wanted["files"])
    units = tuple(parse_unit(unit | {"number": number}) for number, unit in enumerate(value["units"]))
    return Plan(
        value["fingerprint"],
        Identity(wanted["bundle"], wanted["settings"], files),
        [BadFile(**bad) for bad in value["bad_files"]],
        value.get("left_out_files", {}),
        _parse_types(value),
        parse_pins(value.get("pins")),
        old_units=units,
    )


def _parse_types(value: dict[str, Any]) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(value["types"]))) if "types" in value else NO_COLUMNS

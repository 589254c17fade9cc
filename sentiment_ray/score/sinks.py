"""Commits finished parts to a table of Delta Lake or Iceberg, in one step and where they stand; writes no data."""

import json
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.errors import ConfigError, DataError, require_extra
from sentiment_ray.parquet_types import hive_values
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.iceberg import add_to_iceberg, open_catalog
from sentiment_ray.score.plan import Plan
from sentiment_ray.storage import Store, full_path

DELTA_LOG = "_delta_log"
FIELD_ID = b"PARQUET:field_id"
WHOLE_NUMBER = re.compile("0|-?[1-9][0-9]{0,17}")
FOOTERS_AT_A_TIME = 16
REMEDY = "Commit with --sink parquet, which scores nothing again, or choose other --columns and pass --restart."

Parts = Sequence[dict[str, Any]]


def check_sink(config: ScoreConfig) -> None:
    """Refuse a sink that cannot be committed to, before anything is scored: a missing library, an unknown catalog."""
    if config.sink == "delta":
        require_extra("delta", "deltalake")
        if "%" in config.output:
            raise ConfigError(f"output = {config.output!r}: Delta Lake keeps no table where a name has a %. Rename it.")
    elif config.sink == "iceberg":
        require_extra("iceberg", "pyiceberg")
        open_catalog(config)


def is_in_sink(config: ScoreConfig, manifest: dict[str, Any]) -> bool:
    """Whether the run that wrote a manifest also committed its parts to the sink that is asked for."""
    keys = ("sink", "iceberg_table", "iceberg_catalog")
    return config.sink == "parquet" or all(manifest["config"].get(key) == getattr(config, key) for key in keys)


def commit_to_sink(store: Store, config: ScoreConfig, plan: Plan, parts: Parts) -> None:
    """Add the parts to the table of `config.sink` in one atomic commit; nothing happens when it was done before.

    What only the paths hold (Hive partitions) becomes columns. DataError when the parts differ in their columns, or
    the table cannot hold them.
    """
    if config.sink == "parquet" or not parts:
        return
    columns = _common_columns(store, parts, config.sink)
    partitions = _partition_columns(parts, columns)
    output = full_path(store.fs, store.root)
    if config.sink == "iceberg":
        files = {
            full_path(store.fs, store.path(part["path"])): hive_values(part["path"].split("/")[:-1]) for part in parts
        }
        add_to_iceberg(config, output, plan.fingerprint, files, columns, partitions)
    else:
        _add_to_delta(output, plan.fingerprint, parts, columns, partitions)


def _add_to_delta(output: str, fingerprint: str, parts: Parts, columns: pa.Schema, partitions: pa.Schema) -> None:
    """Make the output a Delta table whose first version, written in one step, is the parts."""
    from deltalake import CommitProperties, DeltaTable, Schema, Transaction
    from deltalake.transaction import AddAction, create_table_with_add_actions

    foreign = [field for field in columns if not _fits_delta(field.type)]
    if foreign:
        raise DataError(f"{output}: column {foreign[0].name!r} is {foreign[0].type}, unknown to Delta Lake. {REMEDY}")
    if DeltaTable.is_deltatable(output):
        if DeltaTable(output).transaction_version(fingerprint) is None:
            raise DataError(f"{output} is a Delta table that this run did not make. Remove {output}/{DELTA_LOG}.")
        return
    now_ms = int(time.time() * 1000)
    actions = []
    for part in parts:
        values = hive_values(part["path"].split("/")[:-1])
        found = {name: values[name] for name in partitions.names}
        stats = json.dumps({"numRecords": part["rows"]})
        actions.append(AddAction(part["path"], part["bytes"], found, now_ms, True, stats))
    create_table_with_add_actions(
        output,
        Schema.from_arrow(pa.schema([*columns, *partitions])),
        actions,
        partition_by=partitions.names,
        commit_properties=CommitProperties(app_transactions=[Transaction(fingerprint, 1)]),
    )


def _common_columns(store: Store, parts: Parts, sink: str) -> pa.Schema:
    """Return the columns that every part has; DataError names the first part and column that differ."""
    first: dict[str, pa.DataType] = {}
    with ThreadPoolExecutor(FOOTERS_AT_A_TIME) as pool:
        for part, schema in zip(parts, pool.map(lambda part: _read_schema(store, part["path"]), parts), strict=True):
            columns = {field.name: _as_stored(field.type) for field in schema}
            numbered = [field.name for field in schema if FIELD_ID in (field.metadata or {})]
            if numbered and sink == "iceberg":
                raise DataError(
                    f"{part['path']}: column {numbered[0]!r} carries the field id of another table, by which Iceberg "
                    "would read it. Commit with --sink parquet or delta, which scores nothing again."
                )
            first = first or columns
            for name in {**first, **columns}:
                if first.get(name) != columns.get(name):
                    kinds = [f"{each[name]}" if name in each else "missing" for each in (columns, first)]
                    raise DataError(
                        f"{part['path']}: column {name!r} is {kinds[0]} here and {kinds[1]} in {parts[0]['path']}, "
                        f"but all parts of a table have the same columns. {REMEDY}"
                    )
    return pa.schema(list(first.items()))


def _read_schema(store: Store, name: str) -> pa.Schema:
    with store.fs.open(store.path(name), "rb") as handle:
        return parquet.read_schema(handle)


def _as_stored(kind: pa.DataType) -> pa.DataType:
    """Return the type that Parquet keeps: dictionaries and large strings are ways to hold it in memory."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return pa.binary() if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind) else kind


def _fits_delta(kind: pa.DataType) -> bool:
    """Whether Delta Lake has a type that every reader takes this one for."""
    if kind.num_fields:
        return all(_fits_delta(kind.field(place).type) for place in range(kind.num_fields))
    has = pa.types
    foreign = (has.is_unsigned_integer, has.is_float16, has.is_time, has.is_duration, has.is_null)
    return not any(test(kind) for test in foreign) and not (has.is_timestamp(kind) and kind.unit == "ns")


def _partition_columns(parts: Parts, columns: pa.Schema) -> pa.Schema:
    """Return the columns that only the paths hold, whole numbers where all values are; DataError when paths differ."""
    values = [hive_values(part["path"].split("/")[:-1]) for part in parts]
    for part, found in zip(parts, values, strict=True):
        if list(found) != list(values[0]):
            raise DataError(
                f"{part['path']} is partitioned by {', '.join(found) or 'nothing'}, {parts[0]['path']} by "
                f"{', '.join(values[0]) or 'nothing'}. A table has one partitioning. {REMEDY}"
            )
    names = [name for name in values[0] if name not in columns.names]
    texts = {name: {found[name] for found in values} - {None} for name in names}
    whole = {name for name in names if texts[name] and all(WHOLE_NUMBER.fullmatch(str(text)) for text in texts[name])}
    return pa.schema([(name, pa.int64() if name in whole else pa.string()) for name in names])

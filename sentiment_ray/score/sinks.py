"""Commits finished parts, in place, to a Delta Lake or Iceberg table in one atomic step; copies no data."""

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.errors import ConfigError, DataError, require_extra
from sentiment_ray.input_files.names import parse_hive_columns
from sentiment_ray.manifest import format_json
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.iceberg import add_to_iceberg, open_catalog
from sentiment_ray.score.output_names import DELTA_LOG
from sentiment_ray.score.scores_manifest import PartEntry, ScoresManifest
from sentiment_ray.storage import Store
from sentiment_ray.store_location import full_path

FIELD_ID = b"PARQUET:field_id"
WHOLE_NUMBER = re.compile("0|-?[1-9][0-9]{0,17}")
MAX_PARALLEL_READS = 16
REMEDY = "Commit with --sink parquet (no row is scored again), or choose other --columns and pass --restart."

Parts = Sequence[PartEntry]


def check_sink(config: ScoreConfig) -> None:
    """Refuse, before anything is scored, a sink whose library is missing or whose catalog is unknown."""
    if config.sink == "delta":
        require_extra("delta", "deltalake")
        if "%" in config.output:
            raise ConfigError(
                f"output = {config.output!r}: Delta Lake cannot keep a table below a name with a %. Rename it."
            )
    elif config.sink == "iceberg":
        require_extra("iceberg", "pyiceberg")
        open_catalog(config)


def is_in_sink(config: ScoreConfig, manifest: ScoresManifest) -> bool:
    """Whether the run that wrote this manifest also committed its parts to the sink of `config`."""
    keys = ("sink", "iceberg_table", "iceberg_catalog")
    return config.sink == "parquet" or all(manifest.facts.config.get(key) == getattr(config, key) for key in keys)


def commit_to_sink(store: Store, config: ScoreConfig, fingerprint: str, parts: Parts) -> None:
    """Add the parts to the table of `config.sink` in one atomic commit; nothing happens if they were added before.

    Hive partitions in the paths become columns. DataError when the parts differ in their columns, or the table cannot
    hold them.
    """
    if config.sink == "parquet" or not parts:
        return
    columns = _read_common_columns(store, parts, config.sink)
    partitions = _find_partition_columns(parts, columns)
    output = full_path(store.fs, store.root)
    if config.sink == "iceberg":
        files = {
            full_path(store.fs, store.path(part.path)): parse_hive_columns(part.path.split("/")[:-1]) for part in parts
        }
        add_to_iceberg(config, output, fingerprint, files, columns, partitions)
    else:
        _add_to_delta(output, fingerprint, parts, columns, partitions)


def _add_to_delta(output: str, fingerprint: str, parts: Parts, columns: pa.Schema, partitions: pa.Schema) -> None:
    """Make the output a Delta table; its first version, written in one step, holds the parts."""
    from deltalake import CommitProperties, DeltaTable, Schema, Transaction
    from deltalake.transaction import AddAction, create_table_with_add_actions

    unsupported = [field for field in columns if not _is_delta_type(field.type)]
    if unsupported:
        name, data_type = unsupported[0].name, unsupported[0].type
        raise DataError(f"{output}: column {name!r} is {data_type}, which Delta Lake does not support. {REMEDY}")
    if DeltaTable.is_deltatable(output):
        if DeltaTable(output).transaction_version(fingerprint) is None:
            raise DataError(f"{output} is a Delta table that another run made. Remove {output}/{DELTA_LOG}.")
        return
    now_ms = int(time.time() * 1000)
    actions = []
    for part in parts:
        hive = parse_hive_columns(part.path.split("/")[:-1])
        values = {name: hive[name] for name in partitions.names}
        stats = format_json({"numRecords": part.rows})
        actions.append(AddAction(part.path, part.bytes, values, now_ms, True, stats))
    create_table_with_add_actions(
        output,
        Schema.from_arrow(pa.schema([*columns, *partitions])),
        actions,
        partition_by=partitions.names,
        commit_properties=CommitProperties(app_transactions=[Transaction(fingerprint, 1)]),
    )


def _read_common_columns(store: Store, parts: Parts, sink: str) -> pa.Schema:
    """Return the columns that all parts have; DataError names the first part and column that differ."""
    first: dict[str, pa.DataType] = {}
    with ThreadPoolExecutor(MAX_PARALLEL_READS) as pool:
        for part, schema in zip(parts, pool.map(lambda part: _read_schema(store, part.path), parts), strict=True):
            columns = {field.name: _to_stored_type(field.type) for field in schema}
            numbered = [field.name for field in schema if FIELD_ID in (field.metadata or {})]
            if numbered and sink == "iceberg":
                raise DataError(
                    f"{part.path}: column {numbered[0]!r} carries the field id of another table, and Iceberg would "
                    "read it by this id. Commit with --sink parquet or delta; no row is scored again."
                )
            first = first or columns
            for name in {**first, **columns}:
                if first.get(name) != columns.get(name):
                    types = [f"{each[name]}" if name in each else "missing" for each in (columns, first)]
                    raise DataError(
                        f"{part.path}: column {name!r} is {types[0]} here and {types[1]} in {parts[0].path}, "
                        f"but all parts of a table must have the same columns. {REMEDY}"
                    )
    return pa.schema(list(first.items()))


def _read_schema(store: Store, name: str) -> pa.Schema:
    return store.parse(name, parquet.read_schema)


def _to_stored_type(data_type: pa.DataType) -> pa.DataType:
    """Return the type as Parquet stores it: dictionaries, views and large strings exist in memory alone."""
    data_type = data_type.value_type if pa.types.is_dictionary(data_type) else data_type
    if pa.types.is_large_string(data_type) or pa.types.is_string_view(data_type):
        return pa.string()
    is_binary = pa.types.is_large_binary(data_type) or pa.types.is_binary_view(data_type)
    return pa.binary() if is_binary else data_type


def _is_delta_type(data_type: pa.DataType) -> bool:
    """Whether Delta Lake has an equal type, so that every reader reads the column alike."""
    if data_type.num_fields:
        return all(_is_delta_type(data_type.field(index).type) for index in range(data_type.num_fields))
    types = pa.types
    unsupported = (types.is_unsigned_integer, types.is_float16, types.is_time, types.is_duration, types.is_null)
    is_nanoseconds = types.is_timestamp(data_type) and data_type.unit == "ns"
    return not is_nanoseconds and not any(is_type(data_type) for is_type in unsupported)


def _find_partition_columns(parts: Parts, columns: pa.Schema) -> pa.Schema:
    """Return the Hive partition columns: int64 where all values are whole numbers; DataError when paths differ."""
    values = [parse_hive_columns(part.path.split("/")[:-1]) for part in parts]
    for part, own in zip(parts, values, strict=True):
        if list(own) != list(values[0]):
            raise DataError(
                f"{part.path} is partitioned by {', '.join(own) or 'nothing'}, {parts[0].path} by "
                f"{', '.join(values[0]) or 'nothing'}. A table has one partitioning. {REMEDY}"
            )
    names = [name for name in values[0] if name not in columns.names]
    texts = {name: {own[name] for own in values} - {None} for name in names}
    whole = {name for name in names if texts[name] and all(WHOLE_NUMBER.fullmatch(str(text)) for text in texts[name])}
    return pa.schema([(name, pa.int64() if name in whole else pa.string()) for name in names])

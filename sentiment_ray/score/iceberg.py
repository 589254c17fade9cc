"""Adds existing files to an Iceberg table in one snapshot; knows no plans, receipts or manifests."""

import functools
import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from sentiment_ray.errors import ConfigError, DataError, first_line
from sentiment_ray.score.config import ScoreConfig

FINGERPRINT, OUTPUT = "sentiment_ray.fingerprint", "sentiment_ray.output"
"""Properties of a snapshot: the fingerprint of the plan, and the output whose parts the snapshot added."""
NAME_MAPPING = "schema.name-mapping.default"
MAX_PARALLEL_READS = 16


def open_catalog(config: ScoreConfig) -> Any:
    """Return the catalog that the configuration of pyiceberg describes; ConfigError when it describes none."""
    from pyiceberg.catalog import load_catalog
    from pyiceberg.exceptions import NotInstalledError

    try:
        return load_catalog(config.iceberg_catalog)
    except (ValueError, NotInstalledError) as error:
        raise ConfigError(
            f"iceberg_catalog = {config.iceberg_catalog!r}: {first_line(error)}. "
            "Describe the catalog in .pyiceberg.yaml or in PYICEBERG_CATALOG__… variables."
        ) from None


def add_to_iceberg(
    config: ScoreConfig,
    output: str,
    fingerprint: str,
    files: Mapping[str, Mapping[str, str | None]],
    columns: pa.Schema,
    partitions: pa.Schema,
) -> None:
    """Replace the files of `output` in the table by `files`, each with the values of its partition, in one snapshot.

    Files of other outputs stay in the table. Nothing happens when the last snapshot of this output is of the same plan.
    DataError when the files have other columns or partitions than the table, or when files that this output has added
    are gone: after a compaction their rows are in other files, and would be added a second time.
    """
    from pyiceberg.io.pyarrow import UnsupportedPyArrowTypeException, parquet_file_to_data_file
    from pyiceberg.table.snapshots import ancestors_of

    try:
        table = _open_table(config, columns, partitions)
        summaries = (snapshot.summary or {} for snapshot in ancestors_of(table.current_snapshot(), table.metadata))
        last = next((summary for summary in summaries if summary.get(OUTPUT) == output), {})
        if last.get(FINGERPRINT) == fingerprint:
            return
        present = [task.file for task in table.scan().plan_files()]
        replaced = [file for file in present if file.file_path.startswith(output.rstrip("/") + "/")]
        recorded = _read_record(table, output, last)
        if recorded and len(replaced) < recorded.num_files:
            raise DataError(
                f"Iceberg table {config.iceberg_table} no longer has {recorded.num_files - len(replaced)} of the "
                f"{recorded.num_files} files that {output} added: it was compacted or rolled back. Delete the rows of "
                "this output from the table or name another table, and use an output that never was in it."
            )
        if recorded and recorded.fingerprint == fingerprint:
            return
        partition_fields = _find_partition_fields(table, partitions)
        with table.transaction() as transaction, ThreadPoolExecutor(MAX_PARALLEL_READS) as pool:
            if table.name_mapping() is None:
                transaction.set_properties({NAME_MAPPING: table.schema().name_mapping.model_dump_json()})
            transaction.set_properties({_name_record(output): f"{fingerprint} {len(files)}"})
            update = transaction.update_snapshot(snapshot_properties={OUTPUT: output, FINGERPRINT: fingerprint})
            with update.overwrite() if replaced else update.fast_append() as snapshot:
                for file in replaced:
                    snapshot.delete_data_file(file)
                for file in pool.map(lambda path: parquet_file_to_data_file(table.io, table.metadata, path), files):
                    values = files[file.file_path]
                    for name, (index, parse) in partition_fields.items():
                        file.partition[index] = parse(values[name])
                    snapshot.append_data_file(file)
    except (ValueError, TypeError, ArithmeticError, UnsupportedPyArrowTypeException) as error:
        raise DataError(
            f"Iceberg table {config.iceberg_table} cannot hold the parts of {output}: {str(error).rstrip('.')}. "
            "Change the table, name another one, or commit with --sink parquet; no row is scored again."
        ) from error


@dataclass(frozen=True)
class _Record:
    """What an output has added to a table last."""

    fingerprint: str
    num_files: int


def _name_record(output: str) -> str:
    return f"{OUTPUT}.{hashlib.sha256(output.encode()).hexdigest()[:16]}"


def _read_record(table: Any, output: str, last: Mapping[str, str]) -> _Record | None:
    """Return what the table's properties say of an output or, for an earlier release, its last snapshot."""
    recorded = table.properties.get(_name_record(output), "").split()
    if len(recorded) == 2:
        return _Record(recorded[0], int(recorded[1]))
    if not last:
        return None
    return _Record(str(last.get(FINGERPRINT)), int(last.get("added-data-files") or 0))


def _open_table(config: ScoreConfig, columns: pa.Schema, partitions: pa.Schema) -> Any:
    """Return the table; create it, empty, if it does not exist."""
    catalog, name = open_catalog(config), str(config.iceberg_table)
    if not catalog.table_exists(name):
        catalog.create_namespace_if_not_exists(name.rpartition(".")[0])
        creation = catalog.create_table_transaction(name, pa.schema([*columns, *partitions]))
        with creation, creation.update_spec() as spec:
            for partition in partitions.names:
                spec.add_identity(partition)
    return catalog.load_table(name)


def _find_partition_fields(table: Any, partitions: pa.Schema) -> dict[str, Any]:
    """Return for each partition column its index in the partitioning of the table, and the parser of its values."""
    from pyiceberg.conversions import partition_to_py
    from pyiceberg.transforms import IdentityTransform

    fields = {}
    for index, field in enumerate(table.spec().fields):
        source = table.schema().find_field(field.source_id)
        if isinstance(field.transform, IdentityTransform):
            fields[source.name] = (index, functools.partial(partition_to_py, source.field_type))
    missing = [name for name in partitions.names if name not in fields]
    if missing:
        raise ValueError(f"its partitions are {', '.join(fields) or 'none'}, but the parts also have {missing[0]!r}")
    return {name: fields[name] for name in partitions.names}

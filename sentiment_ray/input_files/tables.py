"""Finds out whether files belong to a Delta, Iceberg or Hudi table, whose log decides which files are its rows."""

import os
import re
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fsspec
import pyarrow as pa

from sentiment_ray import log
from sentiment_ray.errors import DataError, MissingExtraError, StorageError, first_line, require_extra
from sentiment_ray.input_files.location import Location
from sentiment_ray.input_files.names import parse_hive_columns
from sentiment_ray.input_files.selection import Selection
from sentiment_ray.retrying import is_passing
from sentiment_ray.store_faults import is_directory
from sentiment_ray.store_location import full_path, is_local

DELTA_LOG = "_delta_log"
LOGS = {DELTA_LOG: "Delta", ".hoodie": "Hudi"}
ICEBERG_METADATA = re.compile(r"(v\d+|\d{5}-[0-9a-f-]{36})(\.gz)?\.metadata\.json(\.gz)?")
READABLE_FEATURES = {
    "columnMapping", "deletionVectors", "timestampNtz", "typeWidening", "v2Checkpoint", "vacuumProtocolCheck",
}  # fmt: skip
"""Features of Delta tables under which the files of the current version hold its rows, if none has a deletion vector
and columns are not mapped."""
WRITE_OUT = "Write its rows out as Parquet files with the program that keeps the table, and name those"


@dataclass(frozen=True)
class Table:
    """A table that files of a location belong to."""

    path: str
    kind: str
    """Delta, Iceberg or Hudi."""
    prefix: str = ""
    """Where its files are below the root of the location; empty for all of them."""
    inner: str = ""
    """Where the root of the location is below the table; empty unless the table lies above it."""


def keep_rows_of_tables(selection: Selection) -> None:
    """Leave out the files that a table no longer has; say on stderr which tables are read.

    DataError, with the remedy, for a table whose files alone do not give its rows.
    """
    place = selection.location
    for table in _find_tables(place):
        candidates = {name for name in selection.entries if name.startswith(table.prefix)}
        if not candidates:
            continue
        live = {
            table.prefix + name[len(table.inner) :]
            for name in _read_file_names(place.fs, table)
            if name.startswith(table.inner)
        }
        if place.kind == "directory":
            _add_all(selection, live, table)
        for name in candidates - live:
            selection.leave_out(name, "removed_from_table")
        num_read, num_old = len(candidates & live), len(candidates - live)
        log.notify(
            f"{full_path(place.fs, table.path)} is a Delta table. Files of its current version that are read: "
            f"{num_read:,}; files of earlier versions that are not: {num_old:,}."
        )


def _add_all(selection: Selection, live: set[str], table: Table) -> None:
    """Read all files of a table, whatever their names are; DataError for one that is missing."""
    entries = {entry.name: entry for entry in selection.location.tree.entries}
    for name in live - set(selection.entries):
        if name not in entries:
            raise DataError(
                f"{selection.location.path(name)} is missing, but the current version of the Delta table {table.path} "
                "has it. Restore the file, or the table."
            )
        selection.add(entries[name], "parquet")


def _find_tables(place: Location) -> list[Table]:
    """Return the tables in, around and above a location; DataError for a link that leads into one."""
    for target in place.tree.targets:
        if above := _find_table_above(place.fs, os.path.dirname(target)):
            raise DataError(f"{target} lies in a table of {above.kind}, {above.path}. Name the table itself.")
    tables = list(_find_tables_below(place))
    if not any(not table.prefix for table in tables):
        above = _find_table_above(place.fs, os.path.realpath(place.root) if is_local(place.fs) else place.root)
        tables += [above] if above else []
    return tables


def _find_tables_below(place: Location) -> Iterator[Table]:
    by_directory: dict[str, list[str]] = {}
    for entry in place.tree.entries:
        directory, _, file = entry.name.rpartition("/")
        if directory.rpartition("/")[2] == "metadata":
            by_directory.setdefault(directory, []).append(file)
    for name in place.tree.directories:
        parent, _, base = name.rpartition("/")
        prefix = f"{parent}/" if parent else ""
        if base in LOGS:
            yield Table(place.path(parent).rstrip("/"), LOGS[base], prefix)
        elif base == "metadata" and _is_iceberg(by_directory.get(name) or _list_names(place.fs, place.path(name))):
            yield Table(place.path(parent).rstrip("/"), "Iceberg", prefix)


def _find_table_above(fs: fsspec.AbstractFileSystem, root: str) -> Table | None:
    """Return the table that a directory is in or is the root of; None when it is in no table."""
    path, inner = root.rstrip("/"), ""
    while path:
        for log_name, kind in LOGS.items():
            if _is_directory(fs, f"{path}/{log_name}"):
                return Table(path, kind, inner=inner)
        if inner.startswith("data/") and _is_iceberg(_list_names(fs, f"{path}/metadata")):
            return Table(path, "Iceberg", inner=inner)
        path, _, base = path.rpartition("/")
        inner = f"{base}/{inner}"
    return None


def _is_iceberg(files: Collection[str]) -> bool:
    return any(map(ICEBERG_METADATA.fullmatch, files))


def _read_file_names(fs: fsspec.AbstractFileSystem, found: Table) -> set[str]:
    """Return the files of the current version of a table, by their path below it.

    DataError, with the remedy, for a table whose files alone do not give its rows; MissingExtraError without deltalake.
    """
    shown = full_path(fs, found.path)
    if found.kind != "Delta":
        raise DataError(
            f"{shown} is a table of {found.kind}, whose files also hold rows that the table no longer has. {WRITE_OUT}."
        )
    try:
        require_extra("delta", "deltalake")
    except MissingExtraError as error:
        raise MissingExtraError(f"{shown} is a Delta table. {error} Or: {WRITE_OUT}.") from None
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    try:
        with _open_log(fs, found.path) as location:
            options = {"AWS_ALLOW_HTTP": "true"} if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://") else {}
            table = DeltaTable(location, storage_options=options)
            defect = _find_defect(table)
            paths = pa.table(table.get_add_actions(flatten=True))["path"].to_pylist()
            partitions = table.metadata().partition_columns
    except (DeltaError, OSError, ValueError) as error:
        if isinstance(error, OSError) and is_passing(error):
            raise StorageError(
                f"{shown}: the log of the Delta table cannot be read now ({first_line(error)}). Run the same command "
                "again when that is mended."
            ) from None
        raise DataError(
            f"{shown} cannot be read as a Delta table ({str(error).splitlines()[0].rstrip('.')}). {WRITE_OUT}."
        ) from None
    files = {unquote(name) for name in paths}
    outside = next((name for name in files if "://" in name or name.startswith("/")), None)
    if outside:
        defect = f"has files in another directory ({outside})"
    elif any(list(parse_hive_columns(name.split("/")[:-1])) != partitions for name in files):
        defect = "does not name its partitions in its directories"
    if defect:
        raise DataError(f"{shown} is a Delta table that {defect}, so its files do not give its rows. {WRITE_OUT}.")
    return files


def _find_defect(table: Any) -> str:
    """Return why the files of a Delta table do not give its rows, or nothing."""
    protocol, settings = table.protocol(), table.metadata().configuration
    unknown = set(protocol.reader_features or ()) - READABLE_FEATURES
    if unknown:
        return f"uses {', '.join(sorted(unknown))}"
    if settings.get("delta.columnMapping.mode", "none") != "none":
        return "maps the names of its columns"
    vectors = pa.RecordBatchReader.from_stream(table.deletion_vectors()).read_all()
    return "marks deleted rows in deletion vectors" if vectors.num_rows else ""


@contextmanager
def _open_log(fs: fsspec.AbstractFileSystem, path: str) -> Iterator[str]:
    """Yield a location for deltalake; on a disk a directory with a link to the log, because it crashes on brackets."""
    if not is_local(fs):
        yield full_path(fs, path)
        return
    with tempfile.TemporaryDirectory(prefix="sentiment-ray-") as directory:
        Path(directory, DELTA_LOG).symlink_to(os.path.join(os.path.realpath(path), DELTA_LOG))
        yield directory


def _is_directory(fs: fsspec.AbstractFileSystem, path: str) -> bool:
    try:
        return is_directory(fs, path)
    except PermissionError:  # a policy may allow to list the input alone
        return False


def _list_names(fs: fsspec.AbstractFileSystem, path: str) -> Collection[str]:
    try:
        return [str(name).rstrip("/").rpartition("/")[2] for name in fs.ls(path, detail=False)]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []

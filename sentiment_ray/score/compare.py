"""Compares what an output holds with what its receipts or its manifest say; one listing, and few bytes read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from sentiment_ray.errors import ConfigError, StorageError
from sentiment_ray.locked_store import LockedStore
from sentiment_ray.output_lock import is_lock_name
from sentiment_ray.parquet_types import is_damage
from sentiment_ray.paths import LEFT_BY_SYSTEMS
from sentiment_ray.score.columns import PLAN_KEY
from sentiment_ray.score.file_tables import NO_UNIT, compare_sizes, find_rows, iterate_files, list_files, read_names
from sentiment_ray.score.output_names import MANIFEST_NAME, SUCCESS_NAME, is_own_name
from sentiment_ray.score.plan import Plan
from sentiment_ray.score.receipt_shards import drop_receipts
from sentiment_ray.storage import Store


@dataclass(frozen=True)
class Differences:
    """The files of an output that are not as they were written, each with what is wrong, and those that are extra."""

    damaged: Mapping[str, str]
    units: frozenset[int]
    """The numbers of the units that have a damaged file."""
    extra: tuple[str, ...]


def find_differences(store: Store, written: pa.Table, *, reads_all: bool = False) -> Differences:
    """Compare one listing of an output with a table of WRITTEN_SCHEMA by name, size and version.

    A file with another version than its writer saw is read: another worker may have written the same bytes again. With
    `reads_all` every file is read.
    """
    present = list_files(store)
    rows, is_same_size = compare_sizes(written, present)
    versions = pc.fill_null(pc.take(present["version"], pa.array(rows, mask=rows < 0)), "")
    has_version = pc.not_equal(written["version"], "")
    is_other = pc.and_(has_version, pc.not_equal(versions, written["version"])).to_numpy()
    is_doubtful = is_same_size & (is_other | reads_all)
    damaged: dict[str, str] = {}
    units: set[int] = set()
    for index in np.flatnonzero(~is_same_size).tolist():
        name = read_names(written.slice(index, 1))[0]
        damaged[name] = _describe_size(present, int(rows[index]), written["bytes"][index].as_py())
        units.add(written["unit"][index].as_py())
    doubtful = written.filter(pa.array(is_doubtful))
    first = 0
    for files in iterate_files(doubtful):
        found = store.map(lambda name: _find_damage(store, name, files[name].sha256), files)  # noqa: B023
        for offset, (name, damage) in enumerate(zip(files, found, strict=True)):
            if damage:
                damaged[name] = damage
                units.add(doubtful["unit"][first + offset].as_py())
        first += len(files)
    return Differences(damaged, frozenset(units - {NO_UNIT}), tuple(find_extra(written, present)))


def find_extra(written: pa.Table, present: pa.Table) -> list[str]:
    """Return the names of the files of a listing that were not written, apart from those that belong to no run."""
    unknown = read_names(present.filter(pa.array(find_rows(present["name"], written) < 0)))
    return [
        name
        for name in unknown
        if name not in (MANIFEST_NAME, SUCCESS_NAME)
        and not is_lock_name(name)
        and not LEFT_BY_SYSTEMS.fullmatch(name.rpartition("/")[2])
    ]


def refuse_differences(store: LockedStore, plan: Plan, written: pa.Table) -> None:
    """Raise StorageError when a file of the output is missing or changed, ConfigError when there is a foreign one.

    The receipt of a damaged file is removed, so that the next run scores its unit again. What a worker of this or of an
    older plan has left is removed.
    """
    found = find_differences(store, written)
    foreign = [name for name in found.extra if not is_own_name(name) and not is_part(store, name)]
    for name in found.extra:
        if name not in foreign:
            store.remove_file(name)
    if found.damaged:
        drop_receipts(store, plan, found.units)
        name, damage = next(iter(found.damaged.items()))
        raise StorageError(
            f"output = {store.output!r}: {name} {damage} ({len(found.damaged)} such files). Nothing was committed. "
            "Run the same command again: these units are scored again."
        )
    if foreign:
        raise ConfigError(
            f"output = {store.output!r} holds {foreign[0]!r}, which no run wrote. Nothing was committed. Move it "
            "elsewhere, then run the same command again."
        )


def _describe_size(present: pa.Table, row: int, num_bytes: int) -> str:
    if row < 0:
        return "is missing"
    return f"has {present['bytes'][row].as_py():,} bytes, and {num_bytes:,} were written"


def _find_damage(store: Store, name: str, sha256: str) -> str | None:
    try:
        return None if store.sha256(name) == sha256 else "is not the file that was written"
    except FileNotFoundError:
        return "is missing"


def is_part(store: Store, name: str) -> bool:
    """Whether a file is a part that a run wrote: its metadata names a plan. So is one that was just removed."""

    def names_plan(file: Any) -> bool:
        try:
            return PLAN_KEY in (parquet.read_schema(file).metadata or {})
        except Exception as error:
            if is_damage(error):
                return False
            raise

    try:
        return store.parse(name, names_plan)
    except FileNotFoundError:
        return True

"""Compares what an output holds with what its receipts or its manifest say; one listing, and few bytes read."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.errors import ConfigError, StorageError
from sentiment_ray.output_lock import LockedStore, is_lock_name
from sentiment_ray.paths import LEFT_BY_SYSTEMS
from sentiment_ray.score.columns import PLAN_KEY
from sentiment_ray.score.output_names import MANIFEST_NAME, SUCCESS_NAME, is_own_name, name_receipt
from sentiment_ray.score.plan import Plan
from sentiment_ray.score.receipts import Files, WrittenFile
from sentiment_ray.storage import FileInfo, Store


@dataclass(frozen=True)
class Differences:
    """The files of an output that are not as they were written, each with what is wrong, and those that are extra."""

    damaged: Mapping[str, str]
    extra: tuple[str, ...]


def find_differences(store: Store, files: Files, *, reads_all: bool = False) -> Differences:
    """Compare one listing of an output with its files by name, size and version.

    A file with another version than its writer saw is read: another worker may have written the same bytes again. With
    `reads_all` every file is read.
    """
    present = store.list()

    def find_damage(name: str) -> str | None:
        return _find_damage(store, name, files[name], present.get(name), reads_all)

    found = dict(zip(files, store.map(find_damage, files), strict=True))
    known = {*files, MANIFEST_NAME, SUCCESS_NAME}
    extra = (
        name
        for name in present
        if name not in known and not is_lock_name(name) and not LEFT_BY_SYSTEMS.fullmatch(name.rpartition("/")[2])
    )
    return Differences({name: damage for name, damage in found.items() if damage}, tuple(extra))


def refuse_differences(store: LockedStore, plan: Plan, files: Files) -> None:
    """Raise StorageError when a file of the output is missing or changed, ConfigError when there is a foreign one.

    The receipt of a damaged file is removed, so that the next run scores its unit again. What a worker of this or of an
    older plan has left is removed.
    """
    found = find_differences(store, files)
    foreign = [name for name in found.extra if not is_own_name(name) and not _is_part(store, name)]
    for name in found.extra:
        if name not in foreign:
            store.remove_file(name)
    if found.damaged:
        remove_receipts(store, plan, files, found.damaged)
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


def remove_receipts(store: LockedStore, plan: Plan, files: Files, damaged: Mapping[str, str]) -> None:
    """Remove the receipt of every unit that has a damaged file, so that the unit is scored again."""
    for unit in plan.units:
        names = {name_receipt(unit.part), unit.part, f"_quarantine/{unit.part}", f"_groups/parts/{unit.part}"}
        if not names.isdisjoint(damaged):
            store.remove_file(name_receipt(unit.part))


def _find_damage(store: Store, name: str, file: WrittenFile, present: FileInfo | None, reads_all: bool) -> str | None:
    if present is None:
        return "is missing"
    if present.bytes != file.bytes:
        return f"has {present.bytes:,} bytes, and {file.bytes:,} were written"
    if not reads_all and present.version == (file.version or present.version):
        return None
    try:
        return None if store.sha256(name) == file.sha256 else "is not the file that was written"
    except FileNotFoundError:
        return "is missing"


def _is_part(store: Store, name: str) -> bool:
    """Whether a file is a part that a run wrote; then its metadata names a plan."""
    try:
        with store.fs.open(store.path(name), "rb") as handle:
            return PLAN_KEY in (parquet.read_schema(handle).metadata or {})
    except (OSError, pa.ArrowException):
        return False

"""Verifies a finished output: every byte against the manifest and the receipts, and every sum against the plan."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import parquet
from tqdm import tqdm

from sentiment_ray import log
from sentiment_ray.errors import DataError
from sentiment_ray.output_lock import is_lock_name
from sentiment_ray.paths import absolute_location, decode_name, encode_name
from sentiment_ray.score.file_tables import (
    WRITTEN_SCHEMA,
    Files,
    compare_sizes,
    find_rows,
    iterate_files,
    list_files,
    make_written_table,
    read_names,
)
from sentiment_ray.score.output_names import MANIFEST_NAME, SUCCESS_NAME, name_quarantine
from sentiment_ray.score.plan import Plan, count_unit_rows
from sentiment_ray.score.plan_file import read_plan, read_units
from sentiment_ray.score.receipt_shards import FILE_COLUMNS, list_written, parse_receipt_shard
from sentiment_ray.score.scores_manifest import ScoresManifest, parse_manifest, stamp_manifest
from sentiment_ray.storage import Store, open_store

ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class UnitRows:
    """The rows of a unit by its plan and by its receipt."""

    part: str
    planned: int
    scored: int
    quarantined: int
    has_part: bool
    has_quarantine: bool


def verify_scores(location: str) -> dict[str, Any]:
    """Read a whole output and compare it with its manifest; DataError names the first defect and counts the others."""
    store = open_store(absolute_location(location, "PATH"))
    problems = list(find_problems(store))
    if problems:
        more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DataError(f"{location}: {problems[0]}{more}. Restore the output, or run the same job with --repair.")
    manifest = parse_manifest(store.read(MANIFEST_NAME))
    written = _list_written(store, manifest)
    size, counts = sum(written["bytes"].to_pylist()), manifest.counts
    rows = {key: getattr(counts, key) for key in ("rows_in", "rows_scored", "rows_quarantined")}
    return {"scores": location, "verified": True, "files": written.num_rows, "bytes": size, **rows}


def find_problems(store: Store) -> Iterator[str]:
    """Yield a sentence for every defect: a file is missing, added or changed, or rows do not add up."""
    present = list_files(store)
    names = find_rows(pa.chunked_array([[MANIFEST_NAME.encode(), SUCCESS_NAME.encode()]]), present)
    for name, row in zip((MANIFEST_NAME, SUCCESS_NAME), names, strict=True):
        if row < 0:
            yield f"{name} is missing: the run has not finished"
            return
    data = store.read(MANIFEST_NAME)
    if store.read(SUCCESS_NAME) != stamp_manifest(data):
        yield f"{MANIFEST_NAME} is not the one that {SUCCESS_NAME} names"
        return
    manifest = parse_manifest(data)
    # The files that the manifest names say what else there must be, so they are read first.
    problems = list(_find_changed(store, make_written_table(manifest.files), present))
    yield from problems
    if problems:
        return
    units = _list_units_written(store, manifest)
    problems = list(_find_changed(store, units, present))
    yield from problems
    written = pa.concat_tables([units, make_written_table(manifest.files)])
    for name in read_names(present.filter(pa.array(find_rows(present["name"], written) < 0))):
        # A run that crashes right after its last step leaves its lock behind, which only the next run reads.
        if name not in (MANIFEST_NAME, SUCCESS_NAME) and not is_lock_name(name):
            yield f"{name} is not in the manifest"
    if not problems:
        yield from _find_wrong_sums(store, manifest)


def _list_written(store: Store, manifest: ScoresManifest) -> pa.Table:
    """Return every file of a finished output but the manifest itself, as a table of WRITTEN_SCHEMA."""
    return pa.concat_tables([_list_units_written(store, manifest), make_written_table(manifest.files)])


def _list_units_written(store: Store, manifest: ScoresManifest) -> pa.Table:
    """Return the files that the receipt shards name, as a table of WRITTEN_SCHEMA; none in version 1."""

    def read(name: str) -> pa.Table:
        found = parse_receipt_shard(store.read(name), manifest.fingerprint, columns=FILE_COLUMNS)
        return list_written(found.table) if found else WRITTEN_SCHEMA.empty_table()

    return pa.concat_tables([WRITTEN_SCHEMA.empty_table(), *store.map(read, manifest.receipts)])


def _find_changed(store: Store, written: pa.Table, present: pa.Table) -> Iterator[str]:
    """Yield a sentence for each file that is missing or has other bytes."""
    rows, is_same_size = compare_sizes(written, present)
    missing = written.filter(pa.array(rows < 0))
    yield from (f"{name} is missing" for name in sorted(read_names(missing)))
    changed = written.filter(pa.array((rows >= 0) & ~is_same_size))
    yield from (f"{name} is not the file that was written" for name in read_names(changed))
    with tqdm(total=written.num_rows, desc="verifying", disable=log.hide_bars(), leave=False) as bar:
        for files in iterate_files(written.filter(pa.array(is_same_size)), ROWS_AT_ONCE):
            for name, is_same in zip(files, store.map(_make_comparison(store, files), files), strict=True):
                bar.update()
                if not is_same:
                    yield f"{name} is not the file that was written"


def _make_comparison(store: Store, files: Files) -> Callable[[str], bool]:
    return lambda name: store.sha256(name) == files[name].sha256


def _find_wrong_sums(store: Store, manifest: ScoresManifest) -> Iterator[str]:
    plan = read_plan(store)
    if plan is None or plan.fingerprint != manifest.fingerprint:
        yield "the plan is not the one that the manifest names"
        return
    scored, quarantined = 0, sum(bad.rows for bad in plan.bad_files)
    for units in _iterate_unit_rows(store, plan, manifest):
        for unit, found in zip(units, store.map(lambda unit: _count_rows(store, unit), units), strict=True):
            if sum(found) != unit.planned or found != (unit.scored, unit.quarantined):
                yield (f"{unit.part}: of {unit.planned} rows {found[0]} are in the part and {found[1]} in quarantine")
            scored, quarantined = scored + found[0], quarantined + found[1]
    sums, counts = (plan.num_rows, scored, quarantined), manifest.counts
    if (counts.rows_in, counts.rows_scored, counts.rows_quarantined) != sums:
        yield f"the manifest's sums are not those of the parts ({sums[0]} in, {sums[1]} scored, {sums[2]} quarantined)"


def _iterate_unit_rows(store: Store, plan: Plan, manifest: ScoresManifest) -> Iterator[Sequence[UnitRows]]:
    """Yield the units of a plan, a shard at a time."""
    if plan.old_units:
        parts = {part.path: part for part in manifest.parts}
        yield [
            UnitRows(
                unit.part,
                unit.num_rows,
                parts[unit.part].rows if unit.part in parts else 0,
                parts[unit.part].rows_quarantined if unit.part in parts else unit.num_rows,
                unit.part in parts,
                name_quarantine(unit.part) in manifest.files,
            )
            for unit in plan.old_units
        ]
    for shard, name in zip(plan.shards, manifest.receipts, strict=True):
        units = read_units(store, shard)
        found = parse_receipt_shard(store.read(name), plan.fingerprint, columns=FILE_COLUMNS)
        rows = found.table.to_pylist() if found else []
        planned = count_unit_rows(units).tolist()
        yield [
            UnitRows(
                decode_name(row["part"]),
                planned[row["unit"] - shard.first_unit],
                row["rows"],
                row["rows_quarantined"],
                row["part"] in row["file_names"],
                encode_name(name_quarantine(decode_name(row["part"]))) in row["file_names"],
            )
            for row in rows
        ]


def _count_rows(store: Store, unit: UnitRows) -> tuple[int, int]:
    """Return the rows of a unit that are in its part, and those in its quarantine."""
    quarantined = 0
    if unit.has_quarantine:
        with store.fs.open(store.path(name_quarantine(unit.part)), "rb") as handle:
            quarantined = sum(parquet.ParquetFile(handle).read(columns=["rows"])["rows"].to_pylist())
    if not unit.has_part:
        return 0, quarantined
    with store.fs.open(store.path(unit.part), "rb") as handle:
        return int(parquet.read_metadata(handle).num_rows), quarantined

"""Commits a scoring run: the last steps of the protocol by which every input row ends up exactly once in the output.

The protocol. Each file is written completely or not at all (`storage`), so a crash between two steps loses nothing:
the next run with the same bundle, configuration and input resumes at the first step that is not done.

1. The driver plans: which rows of which file are one unit (`plan`). Nothing is written yet.
2. It takes the lock of the output, `_plan/lock-….json` (`output_lock`). From here on driver and workers change the
   output only while they hold it.
3. It removes the scores of another run, if it may, and writes the plan, `_plan/plan.json` (`resume`).
4. A worker scores a unit and writes its part, then its sums by group and its quarantined rows. What an earlier try has
   written beside these is removed. Then it writes the receipt of the unit, `_receipts/….json`, which names these files
   with size and sha256 (`unit_protocol`, `receipts`). A unit with a valid receipt is never scored again. When all units
   of a shard of the plan have one, the receipts are merged into `_receipts/units-….parquet` (`receipt_shards`).
5. When every unit has a receipt, `commit` merges those that are left, reads all receipt shards from the output and
   checks that their rows and those of unreadable files add up to the rows of the plan, and that no more of them are
   quarantined than allowed.
6. It adds the parts to a Delta Lake or Iceberg table in one atomic commit, if `sink` names one (`sinks`).
7. It writes the group means, the quarantined files and the reports (`summary`).
8. It writes `_MANIFEST.json`, which names every file that belongs to no unit, receipt shards among them, with size and
   sha256. It lists the output and compares it with the receipts (`compare`). Then it writes `_SUCCESS`, which holds the
   sha256 of the manifest. Only then the output is finished.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from sentiment_ray.errors import GateError, StorageError
from sentiment_ray.locked_store import LockedStore
from sentiment_ray.output_lock import refuse_if_taken_over
from sentiment_ray.paths import decode_name
from sentiment_ray.score.compare import refuse_differences
from sentiment_ray.score.file_tables import WRITTEN_SCHEMA, Files, WrittenFile, make_written_table
from sentiment_ray.score.finished_units import find_unmerged_shards
from sentiment_ray.score.output_names import (
    CRASH_RECORDS,
    DELTA_LOG,
    MANIFEST_NAME,
    PLAN_NAME,
    SUCCESS_NAME,
    name_receipt_shard,
)
from sentiment_ray.score.plan import Plan, PlanShard, list_parts
from sentiment_ray.score.plan_file import read_units
from sentiment_ray.score.receipt_shards import FILE_COLUMNS, list_written, read_receipt_shard
from sentiment_ray.score.scores_manifest import (
    PartEntry,
    RowCounts,
    RunFacts,
    ScoresManifest,
    format_manifest,
    stamp_manifest,
)
from sentiment_ray.score.totals import Totals, add_totals
from sentiment_ray.storage import TEMPORARY, Store


@dataclass(frozen=True)
class RunResults:
    """What all receipts of a run say together."""

    plan: Plan
    totals: Totals
    counts: RowCounts
    written: pa.Table
    """Every file of every unit, a table of WRITTEN_SCHEMA."""
    receipt_shards: Files


@dataclass(frozen=True)
class Summary:
    """What is written about a whole run: the files, and what the manifest says of it."""

    files: Files
    facts: RunFacts = field(default_factory=RunFacts)


@dataclass(frozen=True)
class CommitSteps:
    """What a commit does beside the protocol itself."""

    max_quarantined: float
    merge_receipts: Callable[[Sequence[PlanShard], set[str]], None]
    """Merges receipts of shards; gets the names of all single receipts too."""
    add_to_sink: Callable[[RunResults], None]
    summarise: Callable[[RunResults], Summary]
    """Writes files about the run."""


def commit(store: LockedStore, plan: Plan, steps: CommitSteps) -> ScoresManifest:
    """Do the steps 5 to 8 of the protocol and return the manifest.

    GateError, before anything is written, when more is quarantined than `max_quarantined` allows. StorageError when
    the output does not hold what its receipts say. ConfigError when another run has taken over the output.
    """
    unmerged, single = find_unmerged_shards(store, plan)
    if unmerged:
        steps.merge_receipts(unmerged, single)
    results = read_results(store, plan)
    _check_quarantine(results, steps.max_quarantined, store.output)
    # The sink is first: a finished output stays finished when the sink refuses the parts.
    steps.add_to_sink(results)
    for name in (TEMPORARY, CRASH_RECORDS):
        store.remove(name)
    store.remove_file(SUCCESS_NAME)
    summary = steps.summarise(results)
    read = [PLAN_NAME, *(shard.name for shard in plan.shards), *plan.file_shards, *store.list(DELTA_LOG)]
    files = results.receipt_shards | dict(summary.files)
    files |= dict(zip(read, store.map(lambda name: _describe_present(store, name), read), strict=True))
    manifest = ScoresManifest(
        fingerprint=plan.fingerprint,
        counts=results.counts,
        facts=summary.facts,
        num_parts=results.totals.parts,
        files=files,
        receipts=list(results.receipt_shards),
        left_out_files=plan.left_out_files,
    )
    data = format_manifest(manifest)
    store.write(MANIFEST_NAME, data)
    refuse_differences(store, plan, pa.concat_tables([results.written, make_written_table(files)]))
    store.write(SUCCESS_NAME, stamp_manifest(data))
    return manifest


def read_results(store: LockedStore, plan: Plan) -> RunResults:
    """Return what all receipt shards say; StorageError when one lacks a unit."""
    found = store.map(lambda shard: _read_shard_results(store, plan, shard), plan.shards)
    totals = add_totals(own for own, _, _ in found)
    shards = {name_receipt_shard(shard.index): file for shard, (_, _, file) in zip(plan.shards, found, strict=True)}
    written = pa.concat_tables([WRITTEN_SCHEMA.empty_table(), *(table for _, table, _ in found)])
    return RunResults(plan, totals, count_rows(plan, totals), written, shards)


def count_rows(plan: Plan, totals: Totals) -> RowCounts:
    """Return the sums over all receipts and bad files, after checking them against the plan."""
    quarantined = totals.rows_quarantined + sum(bad.rows for bad in plan.bad_files)
    if totals.rows + quarantined != plan.num_rows or totals.units != plan.num_units:
        raise AssertionError(f"rows were lost or doubled: {plan.num_rows} in, {totals.rows} + {quarantined} out")
    reasons: Counter[str] = Counter(totals.reasons)
    for bad in plan.bad_files:
        reasons[bad.reason.partition(" (")[0]] += bad.rows
    return RowCounts(plan.num_rows, totals.rows, quarantined, dict(sorted(reasons.items())), tuple(plan.bad_files))


def iterate_parts(store: Store, plan: Plan) -> Iterator[PartEntry]:
    """Yield every part of a run, in the order of the plan, from its receipt shards."""
    for shard in plan.shards:
        found = read_receipt_shard(store, plan, shard, columns=FILE_COLUMNS)
        for row in found.table.to_pylist() if found else ():
            if row["part"] in row["file_names"]:
                index = row["file_names"].index(row["part"])
                counts = {name: row[name] for name in ("rows_in", "rows", "rows_quarantined")}
                yield PartEntry(
                    decode_name(row["part"]), **counts, bytes=row["file_bytes"][index], sha256=row["file_sha256"][index]
                )


def describe_bytes(data: bytes) -> WrittenFile:
    """Return size and sha256 of what a file holds."""
    return WrittenFile(len(data), hashlib.sha256(data).hexdigest())


def _read_shard_results(store: LockedStore, plan: Plan, shard: PlanShard) -> tuple[Totals, pa.Table, WrittenFile]:
    """Return the sums of a shard of the plan, the files of its units, and its receipt shard."""
    found = read_receipt_shard(store, plan, shard, columns=FILE_COLUMNS)
    units = set(found.table["unit"].to_pylist()) if found else set[int]()
    missing = [unit for unit in shard.numbers if unit not in units]
    if missing or found is None:
        part = list_parts(read_units(store, shard))[missing[0] - shard.first_unit]
        raise StorageError(
            f"output = {store.output!r}: {part} or its receipt is missing or has another size than a worker "
            f"wrote ({len(missing)} of {plan.num_units} units or more). All nodes must see one output. Run the same "
            "command again: these units are scored again."
        )
    return found.totals, list_written(found.table), found.file


def _describe_present(store: LockedStore, name: str) -> WrittenFile:
    try:
        return describe_bytes(store.read(name))
    except FileNotFoundError:
        refuse_if_taken_over(store, store.output, store.lock)
        raise StorageError(
            f"output = {store.output!r}: {name} has been removed. Nothing was committed. Run the same command again."
        ) from None


def _check_quarantine(results: RunResults, max_quarantined: float, output: str) -> None:
    counts, num_files = results.counts, results.plan.identity.num_files
    rows_in, quarantined, bad_files = counts.rows_in, counts.rows_quarantined, counts.files_quarantined
    if quarantined > max_quarantined * rows_in or len(bad_files) > max_quarantined * num_files:
        example = f" First file: {bad_files[0].path}: {bad_files[0].reason}." if bad_files else ""
        raise GateError(
            f"{quarantined} of {rows_in} rows and {len(bad_files)} of {num_files} files cannot be scored, more than "
            f"max_quarantined = {max_quarantined:g}; the scores in {output} are not committed.{example} "
            "Repair the input and pass --restart, or raise --max-quarantined to commit without them."
        )

"""Commits a scoring run: the last steps of the protocol by which every input row ends up exactly once in the output.

The protocol. Each file is written completely or not at all (`storage`), so a crash between two steps loses nothing:
the next run with the same bundle, configuration and input resumes at the first step that is not done.

1. The driver plans: which rows of which file are one unit (`plan`). Nothing is written yet.
2. It takes the lock of the output, `_plan/lock-….json` (`output_lock`). From here on driver and workers change the
   output only while they hold it.
3. It removes the scores of another run, if it may, and writes the plan, `_plan/plan.json` (`resume`).
4. A worker scores a unit and writes its part, then its sums by group and its quarantined rows. What an earlier try has
   written beside these is removed. Then it writes the receipt of the unit, `_receipts/….json`, which names these files
   with size and sha256 (`unit_protocol`, `receipts`). A unit with a valid receipt is never scored again.
5. When every unit has a receipt, `commit` reads all receipts from the output and checks that their rows and those of
   unreadable files add up to the rows of the plan, and that no more of them are quarantined than allowed.
6. It adds the parts to a Delta Lake or Iceberg table in one atomic commit, if `sink` names one (`sinks`).
7. It writes the group means, the quarantined files and the reports (`summary`).
8. It lists the output and compares it with the receipts (`compare`), then writes `_MANIFEST.json`, which names every
   file with size and sha256, and `_SUCCESS`, which holds the sha256 of the manifest. Only then the output is finished.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sentiment_ray.errors import GateError, StorageError
from sentiment_ray.manifest import format_json
from sentiment_ray.output_lock import LockedStore, refuse_if_taken_over
from sentiment_ray.score.compare import refuse_differences
from sentiment_ray.score.output_names import (
    CRASH_RECORDS,
    DELTA_LOG,
    MANIFEST_NAME,
    PLAN_NAME,
    SUCCESS_NAME,
    name_receipt,
)
from sentiment_ray.score.plan import Plan
from sentiment_ray.score.receipts import Files, Receipt, WrittenFile, read_receipts
from sentiment_ray.storage import TEMPORARY, Store


@dataclass(frozen=True)
class Summary:
    """What is written about a whole run: the files, and the keys that the manifest has of them."""

    files: Files
    manifest: Mapping[str, Any]


def read_committed_manifest(store: Store) -> dict[str, Any] | None:
    """Return the manifest of a finished output; None when the output is not finished."""
    try:
        data = store.read(MANIFEST_NAME)
        stamp = store.read(SUCCESS_NAME).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    return json.loads(data) if hashlib.sha256(data).hexdigest() == stamp else None


def commit(
    store: LockedStore,
    plan: Plan,
    *,
    max_quarantined: float,
    add_to_sink: Callable[[list[dict[str, Any]]], None],
    summarise: Callable[[Sequence[Receipt], dict[str, Any]], Summary],
) -> dict[str, Any]:
    """Do the steps 5 to 8 of the protocol and return the manifest.

    `add_to_sink` gets the parts; `summarise` gets all receipts and the counts of rows, and writes files about them.
    GateError, before anything is written, when more is quarantined than `max_quarantined` allows. StorageError when
    the output does not hold what its receipts say. ConfigError when another run has taken over the output.
    """
    receipts = _read_all_receipts(store, plan)
    counts = count_rows(plan, receipts)
    _check_quarantine(counts, plan, max_quarantined, store.output)
    parts = [_describe_part(receipt) for receipt in receipts if receipt.part in receipt.files]
    # The sink is first: a finished output stays finished when the sink refuses the parts.
    add_to_sink(parts)
    for name in (TEMPORARY, CRASH_RECORDS):
        store.remove(name)
    store.remove_file(SUCCESS_NAME)
    summary = summarise(receipts, counts)
    files = {name: file for receipt in receipts for name, file in receipt.files.items()} | dict(summary.files)
    read = [PLAN_NAME, *(name_receipt(receipt.part) for receipt in receipts), *store.list(DELTA_LOG)]
    files |= dict(zip(read, store.map(lambda name: _describe_present(store, name), read), strict=True))
    manifest = counts | dict(summary.manifest)
    manifest |= {
        "fingerprint": plan.fingerprint,
        "parts": parts,
        "left_out_files": plan.left_out_files,
        "files": {name: files[name].describe() for name in sorted(files)},
    }
    data = (format_json(manifest, indent=1) + "\n").encode()
    store.write(MANIFEST_NAME, data)
    refuse_differences(store, plan, files)
    store.write(SUCCESS_NAME, (hashlib.sha256(data).hexdigest() + "\n").encode())
    return manifest


def count_rows(plan: Plan, receipts: Sequence[Receipt]) -> dict[str, Any]:
    """Return the sums over all receipts and bad files, after checking them against the plan."""
    rows_scored = sum(receipt.rows for receipt in receipts)
    quarantined = sum(receipt.rows_quarantined for receipt in receipts) + sum(bad.rows for bad in plan.bad_files)
    is_each_once = len({receipt.part for receipt in receipts}) == len(plan.units) == len(receipts)
    if rows_scored + quarantined != plan.num_rows or not is_each_once:
        raise AssertionError(f"rows were lost or doubled: {plan.num_rows} in, {rows_scored} + {quarantined} out")
    reasons: Counter[str] = Counter()
    for receipt in receipts:
        reasons.update(receipt.reasons)
    for bad in plan.bad_files:
        reasons[bad.reason.partition(" (")[0]] += bad.rows
    return {
        "rows_in": plan.num_rows,
        "rows_scored": rows_scored,
        "rows_quarantined": quarantined,
        "quarantine_reasons": dict(sorted(reasons.items())),
        "files_quarantined": [{"path": bad.path, "rows": bad.rows, "reason": bad.reason} for bad in plan.bad_files],
    }


def describe_bytes(data: bytes) -> WrittenFile:
    """Return size and sha256 of what a file holds."""
    return WrittenFile(len(data), hashlib.sha256(data).hexdigest())


def _describe_present(store: LockedStore, name: str) -> WrittenFile:
    try:
        return describe_bytes(store.read(name))
    except FileNotFoundError:
        refuse_if_taken_over(store, store.output, store.lock)
        raise StorageError(
            f"output = {store.output!r}: {name} has been removed. Nothing was committed. Run the same command again."
        ) from None


def _read_all_receipts(store: LockedStore, plan: Plan) -> list[Receipt]:
    """Return the receipts of all units as the output has them, in the order of the plan."""
    receipts = read_receipts(store, plan)
    missing = [unit.part for unit in plan.units if unit.part not in receipts]
    if missing:
        raise StorageError(
            f"output = {store.output!r}: {missing[0]} or its receipt is missing or has another size than a worker "
            f"wrote ({len(missing)} of {len(plan.units)} units). All nodes must see one output. Run the same command "
            "again: these units are scored again."
        )
    return [receipts[unit.part] for unit in plan.units]


def _check_quarantine(counts: dict[str, Any], plan: Plan, max_quarantined: float, output: str) -> None:
    rows_in, quarantined = counts["rows_in"], counts["rows_quarantined"]
    bad_files, num_files = counts["files_quarantined"], len(plan.identity["files"])
    if quarantined > max_quarantined * rows_in or len(bad_files) > max_quarantined * num_files:
        example = f" First file: {bad_files[0]['path']}: {bad_files[0]['reason']}." if bad_files else ""
        raise GateError(
            f"{quarantined} of {rows_in} rows and {len(bad_files)} of {num_files} files cannot be scored, more than "
            f"max_quarantined = {max_quarantined:g}; the scores in {output} are not committed.{example} "
            "Repair the input and pass --restart, or raise --max-quarantined to commit without them."
        )


def _describe_part(receipt: Receipt) -> dict[str, Any]:
    keys = ("input", "first_row", "rows_in", "rows", "rows_quarantined")
    values = {key: getattr(receipt, key) for key in keys}
    return {"path": receipt.part} | values | receipt.files[receipt.part].describe()

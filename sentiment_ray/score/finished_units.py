"""Finds which units of a plan are finished, by a listing of the output and its receipts; reads no scores."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sentiment_ray.score.file_tables import compare_sizes, list_files, read_names
from sentiment_ray.score.output_names import RECEIPTS, is_receipt_shard, name_receipt, name_receipt_shard
from sentiment_ray.score.plan import Plan, PlanShard, list_parts, make_unit
from sentiment_ray.score.plan_file import read_units
from sentiment_ray.score.receipt_shards import (
    RECEIPT_SCHEMA,
    SIZE_COLUMNS,
    list_sizes,
    make_receipt_table,
    read_receipt_shard,
)
from sentiment_ray.score.receipts import read_bare_receipt
from sentiment_ray.storage import Store

COUNTS = ["rows", "rows_quarantined"]


@dataclass(frozen=True)
class FinishedUnits:
    """Which units of a plan are finished, and the rows that they have."""

    is_finished: NDArray[np.bool_]
    """One value for each unit `(units,)`."""
    rows: int = 0
    rows_quarantined: int = 0

    @property
    def has_all(self) -> bool:
        """Whether no unit is missing."""
        return bool(self.is_finished.all())


def list_single_receipts(store: Store) -> tuple[set[str], set[str]]:
    """Return the names of the receipts of single units, and those of the receipt shards, in an output."""
    names = set(read_names(list_files(store, RECEIPTS)))
    shards = set(filter(is_receipt_shard, names))
    return names - shards, shards


def find_unmerged_shards(store: Store, plan: Plan) -> tuple[list[PlanShard], set[str]]:
    """Return the shards of a plan without a receipt shard or with newer single receipts, and the names of these."""
    single, merged = list_single_receipts(store)

    def is_unmerged(shard: PlanShard) -> bool:
        if name_receipt_shard(shard.index) not in merged:
            return True
        return any(name_receipt(part) in single for part in list_parts(read_units(store, shard)))

    if not single:
        return [shard for shard in plan.shards if name_receipt_shard(shard.index) not in merged], single
    found = store.map(is_unmerged, plan.shards)
    return [shard for shard, is_found in zip(plan.shards, found, strict=True) if is_found], single


def find_no_units(plan: Plan) -> FinishedUnits:
    """Return that no unit of a plan is finished."""
    return FinishedUnits(np.zeros(plan.num_units, np.bool_))


def find_finished_units(store: Store, plan: Plan) -> FinishedUnits:
    """Return the finished units: those with a receipt of this plan whose files are there with their sizes.

    Receipt shards are read first, several at a time, then single receipts, which replace those in the shards.
    """
    single, merged = list_single_receipts(store)
    tables = [
        table
        for table in store.map(lambda shard: _read_shard_receipts(store, plan, shard, single, merged), plan.shards)
        if table.num_rows
    ]
    if not tables:
        return find_no_units(plan)
    receipts = pa.concat_tables(tables)
    is_finished = np.zeros(plan.num_units, np.bool_)
    is_finished[receipts["unit"].to_numpy()] = True
    written = list_sizes(receipts)
    _, is_same = compare_sizes(written, list_files(store))
    is_finished[written["unit"].to_numpy()[~is_same]] = False
    counted = receipts.filter(pa.array(is_finished[receipts["unit"].to_numpy()]))
    return FinishedUnits(is_finished, *(int(counted[name].to_numpy().sum()) for name in COUNTS))


def _read_shard_receipts(
    store: Store, plan: Plan, shard: PlanShard, single: Collection[str], merged: Collection[str]
) -> pa.Table:
    """Return all receipts of a shard of the plan, as SIZE_COLUMNS of RECEIPT_SCHEMA."""
    has_shard = name_receipt_shard(shard.index) in merged
    found = read_receipt_shard(store, plan, shard, columns=SIZE_COLUMNS) if has_shard else None
    table = found.table if found else RECEIPT_SCHEMA.empty_table().select(SIZE_COLUMNS)
    if not single:
        return table
    units = read_units(store, shard)
    indices = [index for index, part in enumerate(list_parts(units)) if name_receipt(part) in single]
    waiting = [make_unit(units, index, shard.first_unit) for index in indices]
    newer = [each for each in store.map(lambda unit: read_bare_receipt(store, unit, plan.fingerprint), waiting) if each]
    if not newer:
        return table
    replaced = pa.array([receipt.unit for receipt in newer])
    kept = table.filter(pc.invert(pc.is_in(table["unit"], value_set=replaced)))
    return pa.concat_tables([kept.replace_schema_metadata(None), make_receipt_table(newer).select(SIZE_COLUMNS)])

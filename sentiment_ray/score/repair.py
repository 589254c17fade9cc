"""Finds what is missing or damaged in an output by reading every byte, so that these units are scored again."""

import pyarrow as pa

from sentiment_ray.errors import DataError
from sentiment_ray.locked_store import LockedStore
from sentiment_ray.score.compare import find_differences
from sentiment_ray.score.file_tables import WRITTEN_SCHEMA, make_written_table
from sentiment_ray.score.finished_units import find_unmerged_shards
from sentiment_ray.score.output_names import PLAN_NAME, SUCCESS_NAME, is_receipt_shard
from sentiment_ray.score.plan import Plan
from sentiment_ray.score.receipt_shards import (
    FILE_COLUMNS,
    drop_receipts,
    list_written,
    merge_receipts,
    read_receipt_shard,
)
from sentiment_ray.score.scores_manifest import read_committed_manifest


def remove_damage(store: LockedStore, plan: Plan) -> bool:
    """Remove the receipts of all units with a damaged file, and return whether anything has to be written again.

    Files that the manifest does not name count too. DataError when the plan itself is damaged.
    """
    unmerged, single = find_unmerged_shards(store, plan)
    for shard in unmerged:
        merge_receipts(store, plan, shard, single)
    manifest = read_committed_manifest(store)
    shards = store.map(lambda shard: read_receipt_shard(store, plan, shard, columns=FILE_COLUMNS), plan.shards)
    tables = [list_written(shard.table) for shard in shards if shard]
    others = make_written_table(manifest.files if manifest else {})
    found = find_differences(store, pa.concat_tables([WRITTEN_SCHEMA.empty_table(), *tables, others]), reads_all=True)
    for name in (PLAN_NAME, *(shard.name for shard in plan.shards), *plan.file_shards):
        if name in found.damaged:
            raise DataError(f"{store.path(name)} {found.damaged[name]}. Pass --restart to begin again.")
    if not found.damaged and not (manifest and found.extra):
        return False
    store.remove_file(SUCCESS_NAME)
    for name in filter(is_receipt_shard, found.damaged):
        store.remove_file(name)
    drop_receipts(store, plan, found.units)
    return True

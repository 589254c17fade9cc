"""Finds what is missing or damaged in an output by reading every byte, so that these units are scored again."""

from sentiment_ray.errors import DataError
from sentiment_ray.output_lock import LockedStore
from sentiment_ray.score.commit import read_committed_manifest
from sentiment_ray.score.compare import find_differences, remove_receipts
from sentiment_ray.score.output_names import PLAN_NAME, SUCCESS_NAME
from sentiment_ray.score.plan import Plan
from sentiment_ray.score.receipts import WrittenFile, read_receipts


def remove_damage(store: LockedStore, plan: Plan) -> bool:
    """Remove the receipts of all units with a damaged file, and return whether anything has to be written again.

    Files that the manifest does not name count too. DataError when the plan itself is damaged.
    """
    manifest = read_committed_manifest(store)
    entries = manifest["files"] if manifest else {}
    files = {name: WrittenFile(**entry) for name, entry in entries.items()}
    for receipt in read_receipts(store, plan).values():
        files |= {name: file for name, file in receipt.files.items() if name not in files}
    found = find_differences(store, files, reads_all=True)
    if PLAN_NAME in found.damaged:
        raise DataError(f"{store.path(PLAN_NAME)} {found.damaged[PLAN_NAME]}. Pass --restart to begin again.")
    if not found.damaged and not (manifest and found.extra):
        return False
    store.remove_file(SUCCESS_NAME)
    remove_receipts(store, plan, files, found.damaged)
    return True

"""Every name in an output beside the parts; reads and writes nothing."""

import re

from sentiment_ray.storage import TEMPORARY

PLAN_DIRECTORY = "_plan"
PLAN_NAME = f"{PLAN_DIRECTORY}/plan.json"
REPLACED_NAME = f"{PLAN_DIRECTORY}/being-replaced"
"""Says that a run has begun to remove the scores of another one, so that no run resumes them."""
UNIT_SHARDS = f"{PLAN_DIRECTORY}/units-"
FILE_SHARDS = f"{PLAN_DIRECTORY}/files-"
CRASH_RECORDS = f"{PLAN_DIRECTORY}/attempts"
RECEIPTS = "_receipts"
QUARANTINE = "_quarantine"
BAD_FILES_NAME = f"{QUARANTINE}/_files.parquet"
GROUPS = "_groups"
GROUP_PARTS = f"{GROUPS}/parts"
GROUPS_NAME = f"{GROUPS}/groups.parquet"
REPORT_NAME, PAGE_NAME = "_report.json", "_report.html"
MANIFEST_NAME = "_MANIFEST.json"
SUCCESS_NAME = "_SUCCESS"
DELTA_LOG = "_delta_log"
OWN_NAMES = frozenset(
    {PLAN_DIRECTORY, RECEIPTS, QUARANTINE, GROUPS, REPORT_NAME, PAGE_NAME, MANIFEST_NAME, SUCCESS_NAME, DELTA_LOG}
    | {TEMPORARY}
)
"""What a run writes at the top of its output beside the parts."""


def name_unit_shard(index: int) -> str:
    """Return the name of a shard of the plan's units."""
    return f"{UNIT_SHARDS}{index:05d}.parquet"


def name_file_shard(index: int) -> str:
    """Return the name of a shard of the plan's input files."""
    return f"{FILE_SHARDS}{index:05d}.parquet"


def name_receipt(part: str) -> str:
    """Return the name of the receipt of a part."""
    return f"{RECEIPTS}/{part}.json"


def name_receipt_shard(index: int) -> str:
    """Return the name of the file with the receipts of all units of a shard of the plan."""
    return f"{RECEIPTS}/units-{index:05d}.parquet"


def is_receipt_shard(name: str) -> bool:
    """Whether a name is that of a receipt shard."""
    return re.fullmatch(rf"{RECEIPTS}/units-\d{{5,}}\.parquet", name) is not None


def name_quarantine(part: str) -> str:
    """Return the name of the file with the quarantined rows of a part's unit."""
    return f"{QUARANTINE}/{part}"


def name_group_part(part: str) -> str:
    """Return the name of the file with the sums by group of a part."""
    return f"{GROUP_PARTS}/{part}"


def name_unit_files(part: str) -> tuple[str, str, str]:
    """Return the names of all files that a unit may have beside its receipt."""
    return part, name_group_part(part), name_quarantine(part)


def is_own_name(name: str) -> bool:
    """Whether a file lies where only runs write, so that it may be removed when it belongs to no unit."""
    return name.partition("/")[0] in OWN_NAMES

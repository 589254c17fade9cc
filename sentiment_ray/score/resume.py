"""Decides whether an output holds the same run, which is then resumed; otherwise makes room for a new plan."""

from contextlib import suppress

from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.file_versions import OtherVersionError
from sentiment_ray.locked_store import LockedStore
from sentiment_ray.output_lock import LOCKS, read_highest_lock, refuse_if_taken_over
from sentiment_ray.paths import LEFT_BY_SYSTEMS
from sentiment_ray.score.compare import is_part
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.file_tables import list_files, read_names
from sentiment_ray.score.identity import Identity, describe_difference, differs_in_padding_alone, has_same_identity
from sentiment_ray.score.output_names import (
    CRASH_RECORDS,
    FILE_SHARDS,
    GROUPS,
    MANIFEST_NAME,
    OWN_NAMES,
    PAGE_NAME,
    PLAN_DIRECTORY,
    PLAN_NAME,
    QUARANTINE,
    RECEIPTS,
    REPLACED_NAME,
    REPORT_NAME,
    SUCCESS_NAME,
    UNIT_SHARDS,
)
from sentiment_ray.score.pins import Pins
from sentiment_ray.score.plan import NewPlan, Plan
from sentiment_ray.score.plan_file import iterate_part_names, read_plan, write_plan
from sentiment_ray.score.scores_manifest import read_committed_manifest
from sentiment_ray.storage import TEMPORARY, Store

WRITTEN_LATE = (TEMPORARY, PLAN_DIRECTORY, RECEIPTS, QUARANTINE, GROUPS, REPORT_NAME, PAGE_NAME)
"""What a run that is being replaced may still write, so that only these are there without a plan."""


class OtherFilesError(ConfigError):
    """The output holds files that are no scores, or scores without a plan."""


def find_same_run_unlocked(store: Store, config: ScoreConfig, identity: Identity) -> Plan | None:
    """Return the plan in the output as `find_same_run`, before the run holds the lock, so that it can end early.

    Another run may replace the output meanwhile, and then its plan and its files do not fit together. So while a lock
    is not released, and after it has changed, only a whole plan is judged. All else is judged under the lock.
    """
    before = read_highest_lock(store)
    try:
        return find_same_run(store, config, identity)
    except (OtherFilesError, DataError):
        if read_highest_lock(store) == before and (not before or before.get("released")):
            raise
        return None


def find_same_run(store: Store, config: ScoreConfig, identity: Identity) -> Plan | None:
    """Return the plan in the output if it has this identity, finished or not; None when a new plan may be written.

    Of a run that is finished and may stay, it does not count to which lengths rows were padded. Scores that a run has
    begun to replace are not resumed.

    ConfigError when the output holds another run and `restart` is not set, or when it holds files that are not scores.
    """
    try:
        plan = read_plan(store)
    except DataError:
        if not config.restart:
            raise
        _refuse_other_files(store, config, None)
        return None
    is_being_replaced = plan is not None and store.describe(REPLACED_NAME) is not None
    if plan and has_same_identity(plan.identity, identity) and not is_being_replaced:
        return plan
    may_stay = plan and not config.restart and differs_in_padding_alone(plan.identity, identity)
    if may_stay and not is_being_replaced and read_committed_manifest(store):
        return plan
    if is_being_replaced:
        content = "scores that another run began to replace"
    elif plan:
        content = f"scores of {describe_difference(plan.identity, identity)}"
    else:
        content = _describe_scores_without_plan(store, config)
    if content and store.describe(PLAN_NAME) and not plan:  # another run has just written it
        return find_same_run(store, config, identity)
    if content and not config.restart:
        raise (ConfigError if plan and not is_being_replaced else OtherFilesError)(
            f"output = {config.output!r} holds {content}. Name another output, or pass --restart to replace them."
        )
    if content:
        _refuse_other_files(store, config, plan)
    return None


def refuse_other_pins(config: ScoreConfig, plan: Plan, pins: Pins) -> None:
    """Raise ConfigError when units of this plan would get other bytes here than those that are finished."""
    if plan.pins is None:
        difference = "an earlier release began it, which did not record the versions that its bytes depend on"
    else:
        difference = plan.pins.describe_difference(pins) or ""
    if difference:
        raise ConfigError(
            f"output = {config.output!r} holds an unfinished run that cannot be resumed here: {difference}. Install "
            "the same versions and use the same kind of node, or pass --restart to begin again."
        )


def replace_run(store: LockedStore, new: NewPlan) -> Plan:
    """Remove the files of another run, and write the plan of the new one, which is known to be possible."""
    _remove_scores(store)
    return write_plan(store, new)


def refuse_old_plan(config: ScoreConfig) -> None:
    """Raise ConfigError for a plan that an earlier release wrote as one document, unless `restart` is set."""
    if not config.restart:
        raise ConfigError(
            f"output = {config.output!r} holds a run of an earlier release, whose plan is one document. Its scores can "
            "be read and verified here, and nothing can be added. Name another output, or pass --restart to score "
            "all rows again."
        )


def _describe_scores_without_plan(store: Store, config: ScoreConfig) -> str:
    """Return in words what an output without a plan holds; nothing if it is empty, or has only what comes late.

    OtherFilesError when it holds files that are no scores.
    """
    top = store.list_top()
    found = [name for name in top if name not in WRITTEN_LATE] or _list_left_in_plan(store)
    if MANIFEST_NAME in top:
        return "scores without a plan, as an older release wrote them"
    if not found:
        return ""
    names = [name for name in read_names(list_files(store)) if name.partition("/")[0] in found]
    other = next((name.partition("/")[0] for name in names if not is_part(store, name)), None if names else found[0])
    if other and not store.describe(PLAN_NAME):
        raise OtherFilesError(f"output = {config.output!r} already holds {other!r} and no scores. Name another output.")
    return "parts of a run that has no plan"


def _list_left_in_plan(store: Store) -> list[str]:
    """Return the files in the directory of the plan except for those that a run leaves that dies before its plan."""
    left = (LOCKS, REPLACED_NAME, CRASH_RECORDS, UNIT_SHARDS, FILE_SHARDS)
    return [name for name in store.list(PLAN_DIRECTORY) if not name.startswith(left)]


def _refuse_other_files(store: Store, config: ScoreConfig, plan: Plan | None) -> None:
    """Raise ConfigError when the old scores have a file among them that no run wrote: it would be removed with them."""
    names = read_names(list_files(store))
    parts = {name.removeprefix(f"{RECEIPTS}/").removesuffix(".json") for name in names if name.startswith(RECEIPTS)}
    manifest = read_committed_manifest(store)
    parts |= {part.path for part in manifest.parts} if manifest else set()
    with suppress(DataError):  # of a plan that is damaged, the parts themselves say that a run wrote them
        parts |= set(iterate_part_names(store, plan)) if plan else set()
    unknown = sorted(
        name
        for name in names
        if name.partition("/")[0] not in OWN_NAMES
        and name not in parts
        and not LEFT_BY_SYSTEMS.fullmatch(name.rpartition("/")[2])
    )
    for name, is_own in zip(unknown, store.map(lambda name: is_part(store, name), unknown), strict=True):
        if not is_own:
            raise OtherFilesError(
                f"output = {config.output!r} holds {name!r}, which no run wrote and --restart would remove. "
                "Move it elsewhere, or name another output."
            )


def _remove_scores(store: LockedStore) -> None:
    """Remove the files of another run: _SUCCESS first, the plan last, so that a crash leaves an unfinished run.

    Shards without plan.json belong to no run, so they go after it. Before all of it a file says that the scores are
    being replaced. Otherwise another run could take the lock and finish them while this one sleeps, and then lose what
    this one removes late.
    """
    _mark_as_replaced(store)
    top = (name for name in store.list_top() if name != PLAN_DIRECTORY)
    for name in sorted(top, key=lambda name: name != SUCCESS_NAME):
        store.remove(name)
    store.remove_file(PLAN_NAME)
    for name in store.list(PLAN_DIRECTORY):
        if not name.startswith((LOCKS, REPLACED_NAME)):
            store.remove_file(name)
    store.remove_file(REPLACED_NAME)


def _mark_as_replaced(store: LockedStore) -> None:
    """Write REPLACED_NAME; ConfigError when another run has the lock by then, and the file is gone again."""
    mark = store.lock.owner.encode()
    try:
        store.write(REPLACED_NAME, mark)
        refuse_if_taken_over(store, store.output, store.lock)
    except ConfigError:
        seen = store.describe(REPLACED_NAME)
        with suppress(FileNotFoundError, OtherVersionError):
            if seen and store.read(REPLACED_NAME) == mark:
                store.remove_version(REPLACED_NAME, seen)
        raise

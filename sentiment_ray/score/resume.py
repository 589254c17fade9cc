"""Decides whether an output holds the same run, which is then resumed; otherwise makes room for a new plan."""

from dataclasses import replace
from typing import Any

from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.inference.predictor import PackedBundle
from sentiment_ray.input_files.listing import Listing
from sentiment_ray.output_lock import LOCKS
from sentiment_ray.paths import LEFT_BY_SYSTEMS
from sentiment_ray.score.columns import list_added_fields
from sentiment_ray.score.commit import MANIFEST_NAME, SUCCESS_NAME, read_committed_manifest
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.contract import check_schemas
from sentiment_ray.score.footers import read_footers
from sentiment_ray.score.plan import (
    PLAN_NAME,
    Plan,
    describe_difference,
    differs_in_padding_alone,
    make_plan,
    read_plan,
    write_plan,
)
from sentiment_ray.score.receipts import RECEIPTS
from sentiment_ray.score.scorer import GROUP_PARTS
from sentiment_ray.score.sinks import DELTA_LOG
from sentiment_ray.storage import TEMPORARY, Store

PLAN_DIRECTORY = PLAN_NAME.partition("/")[0]
OWN_NAMES = {
    MANIFEST_NAME, SUCCESS_NAME, PLAN_DIRECTORY, TEMPORARY, DELTA_LOG, RECEIPTS, GROUP_PARTS, "_groups",
    "_quarantine", "_report.json", "_report.html",
}  # fmt: skip
"""What a run writes at the top of its output beside the parts."""


def holds_same_run(store: Store, config: ScoreConfig, identity: dict[str, Any]) -> bool:
    """Whether the output holds a run with this identity, finished or not.

    Of a run that is finished and may stay, it does not count to which lengths rows were padded.

    ConfigError when the output holds another run and `restart` is not set, or when it holds files that are not scores.
    """
    try:
        plan = read_plan(store)
    except DataError:
        if not config.restart:
            raise
        _refuse_other_files(store, config, None)
        return False
    if plan and plan.identity == identity:
        return True
    may_stay = plan and not config.restart and differs_in_padding_alone(plan.identity, identity)
    if may_stay and read_committed_manifest(store):
        return True
    content = f"scores of {describe_difference(plan.identity, identity)}" if plan else ""
    if not plan:
        top = store.list_top()
        found = [name for name in top if name not in (TEMPORARY, PLAN_DIRECTORY)] or _list_left_in_plan(store)
        if found and MANIFEST_NAME not in top:
            raise ConfigError(
                f"output = {config.output!r} already holds {found[0]!r} and no scores. Name another output."
            )
        content = "scores without a plan, as an older release wrote them" if found else ""
    if content and not config.restart:
        raise ConfigError(
            f"output = {config.output!r} holds {content}. Name another output, or pass --restart to replace them."
        )
    if content:
        _refuse_other_files(store, config, plan)
    return False


def resume_or_plan(
    store: Store, config: ScoreConfig, identity: dict[str, Any], bundle: PackedBundle, listing: Listing
) -> Plan:
    """Return the plan in the output if it is of the same run. Otherwise remove the old scores and write a new plan.

    Call it under the lock: another run may have written a plan while this one waited.
    """
    if holds_same_run(store, config, identity):
        plan = read_plan(store)
        assert plan is not None
        return plan
    plan = plan_run(config, identity, bundle, listing)  # an input that cannot be scored leaves the old scores
    _remove_scores(store)
    write_plan(store, plan)
    return plan


def plan_run(config: ScoreConfig, identity: dict[str, Any], bundle: PackedBundle, listing: Listing) -> Plan:
    """Read the footers of all files and return the plan of their units; writes nothing."""
    files = listing.files
    footers = read_footers(files)
    added = [field.name for field in list_added_fields(config, bundle.manifest.labels)]
    checked = check_schemas(files, footers, config, added)
    plan = make_plan(config, identity, files, checked.footers, checked.types)
    return replace(plan, left_out_files=listing.describe_left_out())


def _list_left_in_plan(store: Store) -> list[str]:
    """Return the files in the directory of the plan that are not locks, which a run leaves when it dies."""
    return [name for name in store.list(PLAN_DIRECTORY) if not name.startswith(LOCKS)]


def _refuse_other_files(store: Store, config: ScoreConfig, plan: Plan | None) -> None:
    """Raise ConfigError when the old scores have a file among them that no run wrote: it would be removed with them."""
    names = store.list()
    parts = {unit.part for unit in plan.units} if plan else set[str]()
    parts |= {name.removeprefix(f"{RECEIPTS}/").removesuffix(".json") for name in names if name.startswith(RECEIPTS)}
    manifest = read_committed_manifest(store)
    parts |= {part["path"] for part in manifest["parts"]} if manifest else set()
    for name in names:
        is_own = name.partition("/")[0] in OWN_NAMES or name in parts
        if not is_own and not LEFT_BY_SYSTEMS.fullmatch(name.rpartition("/")[2]):
            raise ConfigError(
                f"output = {config.output!r} holds {name!r}, which no run wrote and --restart would remove. "
                "Move it elsewhere, or name another output."
            )


def _remove_scores(store: Store) -> None:
    """Remove the files of another run: _SUCCESS first, the plan last, so that a crash leaves an unfinished run."""
    top = (name for name in store.list_top() if name != PLAN_DIRECTORY)
    for name in sorted(top, key=lambda name: name != SUCCESS_NAME):
        store.remove(name)
    for name in store.list(PLAN_DIRECTORY):
        if not name.startswith((LOCKS, PLAN_NAME)):
            store.remove(name)
    store.remove(PLAN_NAME)

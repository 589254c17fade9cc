"""The order of a run: look, plan, lock, look again, replace or resume, score, commit; knows no Ray and no model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sentiment_ray.locked_store import LockedStore, advance_lock, guard
from sentiment_ray.output_lock import hold_lock, settle
from sentiment_ray.score.commit import CommitSteps, RunResults, Summary, commit
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.crash_search import has_seen_death
from sentiment_ray.score.finished_units import FinishedUnits, find_finished_units, find_no_units
from sentiment_ray.score.identity import Identity
from sentiment_ray.score.pins import Pins
from sentiment_ray.score.plan import NewPlan, Plan, PlanShard
from sentiment_ray.score.repair import remove_damage
from sentiment_ray.score.resume import (
    find_same_run,
    find_same_run_unlocked,
    refuse_old_plan,
    refuse_other_pins,
    replace_run,
)
from sentiment_ray.score.scores_manifest import ScoresManifest, read_committed_manifest
from sentiment_ray.storage import Store


class Job(Protocol):
    """What a run does with rows, texts and tables."""

    @property
    def config(self) -> ScoreConfig:
        """The configuration, with an engine."""

    @property
    def identity(self) -> Identity:
        """All that the scores depend on; see `identify_run`."""

    def start(self) -> None:
        """Refuse what cannot work, and connect to the cluster. Write nothing into the output."""

    def plan(self) -> NewPlan:
        """Return a new plan; DataError when no file can be scored. Write nothing."""

    def measure_pins(self) -> Pins:
        """Return the versions and the precision of a node that scores."""

    def is_in_sink(self, manifest: ScoresManifest) -> bool:
        """Whether the run with this manifest has committed its parts to the table of this job."""

    def score_units(self, store: LockedStore, plan: Plan, finished: FinishedUnits) -> None:
        """Score the units that are not finished; each leaves a receipt in the output."""

    def merge_receipts(self, store: LockedStore, plan: Plan, shards: Sequence[PlanShard], single: set[str]) -> None:
        """Merge the receipts of shards, as `receipt_shards.merge_receipts`; `single` names the single receipts."""

    def add_to_sink(self, store: LockedStore, results: RunResults) -> None:
        """Add the parts to the table of this job, unless they were added before."""

    def summarise(self, store: LockedStore, results: RunResults) -> Summary:
        """Write the files about the whole run."""


@dataclass(frozen=True)
class Outcome:
    """The manifest of a finished output, and whether it had been finished before."""

    manifest: ScoresManifest
    skipped: bool


def run_job(store: Store, job: Job) -> Outcome:
    """Bring an output to its end, as `score_reviews`; an output that is finished already is not read.

    Errors as `find_same_run`, `Job.plan`, `hold_lock`, `refuse_other_pins` and `commit`. An input that cannot be
    scored leaves no trace, and the old scores stay.
    """
    plan = find_same_run_unlocked(store, job.config, job.identity)
    finished = _find_finished(store, job, plan)
    if finished and not job.config.repair:
        return Outcome(finished, skipped=True)
    job.start()
    new_plan = None if plan else job.plan()
    purpose = new_plan.plan.fingerprint if new_plan else plan.fingerprint if plan else ""
    with hold_lock(store, job.config.output, wait=job.config.wait, purpose=purpose) as lock:
        return _run_under_lock(guard(store, job.config.output, lock), job, new_plan)


def _run_under_lock(store: LockedStore, job: Job, new_plan: NewPlan | None) -> Outcome:
    """Score what is missing and commit. The output is looked at again: another run may have ended just before."""
    if not store.lock.follows_release:
        settle(store)
    plan = find_same_run(store, job.config, job.identity)
    if plan and plan.old_units:
        refuse_old_plan(job.config)
        plan = None
    is_damaged = plan is not None and job.config.repair and remove_damage(store, plan)
    finished_run = _find_finished(store, job, plan)
    if finished_run and not is_damaged:
        return Outcome(finished_run, skipped=True)
    units = find_finished_units(store, plan) if plan else None
    if plan and units and not units.has_all:
        pins = job.measure_pins()
        if job.config.restart and plan.pins != pins:
            plan = None
        else:
            refuse_other_pins(job.config, plan, pins)
    if plan is None or units is None:
        plan = replace_run(store, new_plan or job.plan())
        units = find_no_units(plan)
    if not units.has_all:
        job.score_units(store, plan, units)
    with advance_lock(store) as fenced:  # a worker that seemed dead and was not can write no more
        if has_seen_death(fenced):
            settle(fenced)
        return Outcome(_commit(fenced, job, plan), skipped=False)


def _commit(store: LockedStore, job: Job, plan: Plan) -> ScoresManifest:
    steps = CommitSteps(
        job.config.max_quarantined,
        merge_receipts=lambda shards, single: job.merge_receipts(store, plan, shards, single),
        add_to_sink=lambda results: job.add_to_sink(store, results),
        summarise=lambda results: job.summarise(store, results),
    )
    return commit(store, plan, steps)


def _find_finished(store: Store, job: Job, plan: Plan | None) -> ScoresManifest | None:
    """Return the manifest if the output of this plan is finished, also in its sink."""
    manifest = read_committed_manifest(store) if plan else None
    return manifest if manifest and job.is_in_sink(manifest) else None

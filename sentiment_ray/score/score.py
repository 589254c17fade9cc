"""Scores a Parquet corpus on Ray. `protocol` has the order, `commit` describes it in full; knows no tokens."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiment_ray.bundle.files import MAX_FILES
from sentiment_ray.bundle.manifest import MAX_BUNDLE_BYTES
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.cluster import connect
from sentiment_ray.inference.predictor import PackedBundle, pack
from sentiment_ray.input_files.listing import Listing, list_input, refuse_overlap
from sentiment_ray.local_copy import local_copy
from sentiment_ray.locked_store import LockedStore
from sentiment_ray.paths import absolute_location, check_output, refuse_file
from sentiment_ray.rejected_rows import warn_about_rejected_rows
from sentiment_ray.score.commit import RunResults, Summary, iterate_parts
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.engine_choice import choose_engine
from sentiment_ray.score.estimate import estimate
from sentiment_ray.score.execution import merge_on_cluster, score_missing_units
from sentiment_ray.score.finished_units import FinishedUnits
from sentiment_ray.score.identity import Identity, identify_run
from sentiment_ray.score.pins import Pins, measure_pins
from sentiment_ray.score.plan import NewPlan, Plan, PlanShard
from sentiment_ray.score.planner import plan_run
from sentiment_ray.score.protocol import Outcome, run_job
from sentiment_ray.score.report import RunInputs
from sentiment_ray.score.scores_manifest import ScoresManifest
from sentiment_ray.score.sinks import check_sink, commit_to_sink, is_in_sink
from sentiment_ray.score.summary import write_summary
from sentiment_ray.score.workers import choose_num_workers, refuse_impossible_workers
from sentiment_ray.storage import Store, open_store


@dataclass(frozen=True)
class ScoreJob:
    """Scoring on Ray, as `protocol.run_job` wants it."""

    config: ScoreConfig
    bundle: PackedBundle
    listing: Listing
    identity: Identity
    store: Store
    started_at: float
    """Seconds since 1970."""

    def start(self) -> None:
        """Refuse an output that cannot be written and workers that cannot fit, and connect to the cluster."""
        if self.store.is_local:
            check_output(Path(self.store.root), replaces_directory=False)
        refuse_impossible_workers(self.config, self.bundle.engine)
        connect()
        choose_num_workers(self.config, self.bundle.engine)

    def plan(self) -> NewPlan:
        """Return a new plan; errors as `plan_run`."""
        return plan_run(self.config, self.identity, self.bundle, self.listing, self.measure_pins())

    def measure_pins(self) -> Pins:
        """Return the versions and the precision of a node of the cluster."""
        return measure_pins(self.config, self.bundle.engine)

    def is_in_sink(self, manifest: ScoresManifest) -> bool:
        """Whether the run with this manifest has committed its parts to the same table."""
        return is_in_sink(self.config, manifest)

    def score_units(self, store: LockedStore, plan: Plan, finished: FinishedUnits) -> None:
        """Score the units that are not finished with a pool of workers, and show the progress."""
        score_missing_units(store, self.config, self.bundle, plan, finished)

    def merge_receipts(self, store: LockedStore, plan: Plan, shards: Sequence[PlanShard], single: set[str]) -> None:
        """Merge the receipts of shards, several at a time."""
        merge_on_cluster(store, self.config, plan, shards, single)

    def add_to_sink(self, store: LockedStore, results: RunResults) -> None:
        """Add the parts to the table that the configuration names."""
        if self.config.sink != "parquet":
            parts = list(iterate_parts(store, results.plan))
            commit_to_sink(store, self.config, results.plan.fingerprint, parts)

    def summarise(self, store: LockedStore, results: RunResults) -> Summary:
        """Write the group means, the quarantined files and the reports."""
        return write_summary(store, RunInputs(self.config, self.bundle, self.started_at), results)


def score_reviews(config: ScoreConfig) -> dict[str, Any]:
    """Score every row of a Parquet corpus; return where the scores are and how many rows were scored or quarantined.

    Every input row ends up exactly once, in a part or in quarantine. A run that crashed is resumed by the same call.
    GateError when more than `max_quarantined` of the rows, or of the files, cannot be scored. See docs/scoring.md.
    """
    started_at = time.time()
    locations = {key: absolute_location(getattr(config, key), key) for key in ("bundle", "input", "output")}
    config = config.model_copy(update=locations)
    store = open_store(config.output)
    if store.is_local:
        refuse_file(Path(store.root))
    check_sink(config)
    with local_copy(config.bundle, "bundle", max_files=MAX_FILES, max_bytes=MAX_BUNDLE_BYTES) as directory:
        opened = open_bundle(directory, require_signature=config.require_signature)
        bundle = pack(opened, choose_engine(config, store, opened))
    config = config.with_engine(bundle.engine)
    listing = list_corpus(config.input, config.output)
    identity = identify_run(config, bundle, listing.files)
    if config.plan:
        return _estimate(config, identity, bundle, listing)
    outcome = run_job(store, ScoreJob(config, bundle, listing, identity, store, started_at))
    return _make_result(config.output, outcome)


def list_corpus(location: str, output: str) -> Listing:
    """Return the Parquet files of the input, and name on stderr what else is there; errors as `list_input`.

    ConfigError when the output and the input overlap. A broken link is listed, so that it is quarantined.
    """
    label = f"input = {location!r}"
    listing = list_input(location, label=label, formats=("parquet",), keep_defective=True)
    refuse_overlap(listing, output, label=label)
    listing.warn_about_left_out("score_reviews reads Parquet files. To read one of these, name it itself.")
    return listing


def _estimate(config: ScoreConfig, identity: Identity, bundle: PackedBundle, listing: Listing) -> dict[str, Any]:
    connect()
    num_workers = choose_num_workers(config, bundle.engine)
    new = plan_run(config, identity, bundle, listing, pins=None)
    return {"input": config.input} | estimate(config, new, bundle, min(num_workers, new.num_units))


def _make_result(output: str, outcome: Outcome) -> dict[str, Any]:
    """Return the result of the job, and warn about quarantined rows and files."""
    counts = outcome.manifest.counts
    warn_about_rejected_rows(
        counts.rows_quarantined,
        counts.rows_in,
        dict(counts.quarantine_reasons),
        bad_files=[f"{bad.path}: {bad.reason}" for bad in counts.files_quarantined],
        where=f"See {output}/_quarantine.",
    )
    rows = {key: getattr(counts, key) for key in ("rows_in", "rows_scored", "rows_quarantined")}
    return {"output": output, **rows, "parts": outcome.manifest.num_parts, "skipped": outcome.skipped}

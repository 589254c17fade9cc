"""Scores a Parquet corpus on Ray. `protocol` has the order, `commit` describes it in full; knows no tokens."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from sentiment_ray.bundle.files import MAX_FILES
from sentiment_ray.bundle.manifest import MAX_BUNDLE_BYTES
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.cluster import connect
from sentiment_ray.inference.predictor import PackedBundle, pack
from sentiment_ray.input_files.listing import Listing, list_input, refuse_overlap
from sentiment_ray.local_copy import local_copy
from sentiment_ray.output_lock import LockedStore
from sentiment_ray.paths import absolute_location, check_output, refuse_file
from sentiment_ray.rejected_rows import warn_about_rejected_rows
from sentiment_ray.score.commit import Summary
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.engine_choice import choose_engine
from sentiment_ray.score.estimate import estimate
from sentiment_ray.score.pins import Pins, measure_pins
from sentiment_ray.score.plan import Plan, Unit, identify_run
from sentiment_ray.score.planner import plan_run
from sentiment_ray.score.progress import show_progress
from sentiment_ray.score.protocol import Outcome, run_job
from sentiment_ray.score.receipts import Receipt, read_receipts
from sentiment_ray.score.scorer import RunContext
from sentiment_ray.score.sinks import check_sink, commit_to_sink, is_in_sink
from sentiment_ray.score.summary import write_summary
from sentiment_ray.score.text_cache import share_text_cache
from sentiment_ray.score.workers import choose_num_workers, refuse_impossible_workers, score_units
from sentiment_ray.storage import Store, open_store


@dataclass(frozen=True)
class ScoreJob:
    """Scoring on Ray, as `protocol.run_job` wants it."""

    config: ScoreConfig
    bundle: PackedBundle
    listing: Listing
    identity: dict[str, Any]
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

    def plan(self) -> Plan:
        """Return a new plan; errors as `plan_run`."""
        return plan_run(self.config, self.identity, self.bundle, self.listing, self.measure_pins())

    def measure_pins(self) -> Pins:
        """Return the versions and the precision of a node of the cluster."""
        return measure_pins(self.config, self.bundle.engine)

    def is_in_sink(self, manifest: dict[str, Any]) -> bool:
        """Whether the run with this manifest has committed its parts to the same table."""
        return is_in_sink(self.config, manifest)

    def score_units(self, store: LockedStore, plan: Plan, missing: Sequence[Unit]) -> None:
        """Score units with a pool of workers, and show the progress."""
        config, bundle = self.config, self.bundle
        receipts = read_receipts(store, plan).values() if len(missing) < len(plan.units) else ()
        scored = sum(receipt.rows for receipt in receipts)
        quarantined = sum(receipt.rows_quarantined for receipt in receipts)
        planned = sum(unit.num_rows for unit in plan.units)
        num_workers = choose_num_workers(config, bundle.engine)
        with (
            show_progress(config.progress, planned, scored, quarantined) as progress,
            share_text_cache(config.max_cached_texts, max(num_workers, config.max_workers or 0)) as cache,
        ):
            context = RunContext(
                config, plan.fingerprint, plan.types, plan.pins, ray.put(list(missing)), ray.put(bundle), store.lock,
                progress, cache,
            )  # fmt: skip
            for _ in score_units(context, [unit.num_rows for unit in missing], num_workers, engine=bundle.engine):
                pass

    def add_to_sink(self, store: LockedStore, plan: Plan, parts: list[dict[str, Any]]) -> None:
        """Add the parts to the table that the configuration names."""
        commit_to_sink(store, self.config, plan, parts)

    def summarise(self, store: LockedStore, plan: Plan, receipts: Sequence[Receipt], counts: dict[str, Any]) -> Summary:
        """Write the group means, the quarantined files and the reports."""
        return write_summary(store, self.config, plan, self.bundle, receipts, counts, self.started_at)


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


def _estimate(config: ScoreConfig, identity: dict[str, Any], bundle: PackedBundle, listing: Listing) -> dict[str, Any]:
    connect()
    num_workers = choose_num_workers(config, bundle.engine)
    plan = plan_run(config, identity, bundle, listing, pins=None)
    return {"input": config.input} | estimate(config, plan, bundle, min(num_workers, len(plan.units)))


def _make_result(output: str, outcome: Outcome) -> dict[str, Any]:
    """Return the result of the job, and warn about quarantined rows and files."""
    manifest = outcome.manifest
    bad_files = manifest["files_quarantined"]
    warn_about_rejected_rows(
        manifest["rows_quarantined"],
        manifest["rows_in"],
        manifest["quarantine_reasons"],
        bad_files=[f"{bad['path']}: {bad['reason']}" for bad in bad_files],
        where=f"See {output}/_quarantine.",
    )
    counts = {key: manifest[key] for key in ("rows_in", "rows_scored", "rows_quarantined")}
    return {"output": output, **counts, "parts": len(manifest["parts"]), "skipped": outcome.skipped}

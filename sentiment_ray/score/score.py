"""Scores a Parquet corpus: plan, score, commit. `commit` describes the protocol in full; knows no tokens or engines."""

import time
from pathlib import Path
from typing import Any

import ray

from sentiment_ray.bundle.files import MAX_FILES
from sentiment_ray.bundle.manifest import MAX_BUNDLE_BYTES
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.cluster import connect
from sentiment_ray.engine_specs import ENGINES
from sentiment_ray.inference.predictor import PackedBundle, pack
from sentiment_ray.input_files.listing import Listing, list_input, refuse_overlap
from sentiment_ray.output_lock import Lock, hold_lock
from sentiment_ray.paths import absolute_location, check_output, refuse_file
from sentiment_ray.rejected_rows import warn_about_rejected_rows
from sentiment_ray.score.commit import SUCCESS_NAME, commit, read_committed_manifest
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.engine_choice import choose_engine
from sentiment_ray.score.estimate import estimate
from sentiment_ray.score.plan import Plan, identify_run
from sentiment_ray.score.progress import show_progress
from sentiment_ray.score.receipts import Receipt, find_damaged, read_receipts, remove_damaged_receipts
from sentiment_ray.score.resume import holds_same_run, plan_run, resume_or_plan
from sentiment_ray.score.scorer import RunContext
from sentiment_ray.score.sinks import check_sink, is_in_sink
from sentiment_ray.score.text_cache import share_text_cache
from sentiment_ray.score.workers import choose_num_workers, refuse_impossible_workers, score_units
from sentiment_ray.storage import Store, local_copy, open_store


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
        connect()
        num_workers = choose_num_workers(config, bundle.engine)
        plan = plan_run(config, identity, bundle, listing)
        return {"input": config.input} | estimate(config, plan, bundle, min(num_workers, len(plan.units)))
    damaged = list[str]()
    if holds_same_run(store, config, identity):
        manifest = read_committed_manifest(store)
        damaged = find_damaged(store, manifest["files"]) if manifest and config.restart else []
        if manifest and not damaged and is_in_sink(config, manifest):
            return _make_result(config.output, manifest, skipped=True)
    if store.is_local:
        check_output(Path(store.root), replaces_directory=False)
    refuse_impossible_workers(config, bundle.engine)
    with hold_lock(store, config.output) as lock:
        connect()
        num_workers = choose_num_workers(config, bundle.engine)
        plan = resume_or_plan(store, config, identity, bundle, listing)
        if damaged:
            store.remove(SUCCESS_NAME)
            remove_damaged_receipts(store, plan, damaged)
        receipts = _score_missing_units(store, config, plan, bundle, num_workers, lock)
        manifest = commit(store, config, plan, bundle, receipts, lock, started_at=started_at)
    return _make_result(config.output, manifest, skipped=False)


def list_corpus(location: str, output: str) -> Listing:
    """Return the Parquet files of the input, and name on stderr what else is there; errors as `list_input`.

    ConfigError when the output and the input overlap. A broken link is listed, so that it is quarantined.
    """
    label = f"input = {location!r}"
    listing = list_input(location, label=label, formats=("parquet",), keep_defective=True)
    refuse_overlap(listing, output, label=label)
    listing.warn_about_left_out("score_reviews reads Parquet files. To read one of these, name it itself.")
    return listing


def _score_missing_units(
    store: Store, config: ScoreConfig, plan: Plan, bundle: PackedBundle, num_workers: int, lock: Lock
) -> list[Receipt]:
    """Score every unit that has no receipt, and return the receipts of all units in the order of the plan."""
    receipts = read_receipts(store, plan)
    missing = [unit for unit in plan.units if unit.part not in receipts]
    scored = sum(receipt.rows for receipt in receipts.values())
    quarantined = sum(receipt.rows_quarantined for receipt in receipts.values())
    if missing:
        planned = sum(unit.num_rows for unit in plan.units)
        with (
            show_progress(config.progress, planned, scored, quarantined) as progress,
            share_text_cache(config.max_cached_texts) as cache,
        ):
            context = RunContext(
                config, plan.fingerprint, plan.types, ray.put(missing), ray.put(bundle), lock, progress, cache
            )
            num_rows = [unit.num_rows for unit in missing]
            num_gpus = 1 if ENGINES[bundle.engine].is_gpu else None
            for receipt in score_units(context, num_rows, num_workers, num_gpus=num_gpus):
                receipts[receipt.part] = receipt
    return [receipts[unit.part] for unit in plan.units]


def _make_result(output: str, manifest: dict[str, Any], *, skipped: bool) -> dict[str, Any]:
    """Return the result of the job, and warn about quarantined rows and files."""
    bad_files = manifest["files_quarantined"]
    warn_about_rejected_rows(
        manifest["rows_quarantined"],
        manifest["rows_in"],
        manifest["quarantine_reasons"],
        bad_files=[f"{bad['path']}: {bad['reason']}" for bad in bad_files],
        where=f"See {output}/_quarantine.",
    )
    counts = {key: manifest[key] for key in ("rows_in", "rows_scored", "rows_quarantined")}
    return {"output": output, **counts, "parts": len(manifest["parts"]), "skipped": skipped}

"""Prepares reviews: raw sources to train, validation and test, each text in one of them; knows no format."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

from sentiment_ray.cluster import connect
from sentiment_ray.data.buckets import BUCKETS_DIRECTORY, Plan, collect, divide, tally
from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.listing import InputFile, check_files, list_files, resolve
from sentiment_ray.data.outcomes import Settled, merge_pins
from sentiment_ray.data.summary import Summary, check_rejected, check_splits, manifest_of, summarise
from sentiment_ray.data.tallies import Tally, balance_of, cuts_of
from sentiment_ray.data.units import Unit
from sentiment_ray.manifest import describe_files, fingerprint, finished_result, new_directory, write_json
from sentiment_ray.versions import installed_versions

MANIFEST_NAME = "prepared.json"
BUCKET_BYTES = 64 << 20
LEAST_BUCKETS = 2
TASK_BYTES = 32 << 20
LEAST_TASK_BYTES = 1 << 20
TASKS = 16
"""Tasks that even a small input is read in, so that all CPUs have work."""


def prepare_reviews(config: PrepareConfig) -> dict[str, Any]:
    """Read, check, deduplicate and split the sources; return the output, the counts and whether it was there already.

    ConfigError or DataError, and no output, when a file, a column or too many rows are defective, or when a split or a
    label would be without rows.
    """
    config = resolve(config)
    output = Path(config.output)
    files = list_files(config)
    settings = config.model_dump(mode="json", exclude={"output", "restart"})
    described = describe_files([file.path for file in files])
    wanted = fingerprint({"config": settings, "files": described})
    finished = finished_result(output, MANIFEST_NAME, wanted, restart=config.restart)
    if finished:
        return {"output": str(output), "counts": finished["counts"], "skipped": True}

    units = check_files(config, files)
    connect()
    with new_directory(output) as directory:
        summary = _divide_all(config, units, directory)
        manifest = manifest_of(config, summary) | {
            "sources": _sources(config, files),
            "files": described,
            "config": settings,
            "fingerprint": wanted,
            "versions": installed_versions("ray", "pyarrow"),
        }
        write_json(directory / MANIFEST_NAME, manifest)
    return {"output": str(output), "counts": summary.counts, "skipped": False}


def _divide_all(config: PrepareConfig, units: Sequence[Unit], directory: Path) -> Summary:
    """Write the splits into `directory`; DataError when they could not be trained on."""
    from sentiment_ray.data.tasks import run_tasks

    size = sum(unit.size_bytes for unit in units)
    plan = Plan(config, directory, num_buckets=max(LEAST_BUCKETS, -(-size // BUCKET_BYTES)))
    batches = list(_batches(units, max(LEAST_TASK_BYTES, min(TASK_BYTES, size // TASKS))))
    collected = run_tasks(collect, [(plan, *each) for each in enumerate(batches)], title="Reading")
    check_rejected(config, summarise(config, collected, []))
    bucket_files = sorted(path for part in collected for path in part.bucket_files)
    divided = []
    if bucket_files:
        plan = replace(plan, settled=Settled(merge_pins([pin for part in collected for pin in part.pinned_groups])))
        plan = with_tallies(plan, bucket_files, run_tasks)
        buckets = [(plan, bucket, bucket_files) for bucket in range(plan.num_buckets)]
        divided = run_tasks(divide, buckets, title="Splitting")
    summary = summarise(config, collected, divided)
    check_splits(config, summary)
    rmtree(directory / BUCKETS_DIRECTORY, ignore_errors=True)
    return summary


def with_tallies(plan: Plan, bucket_files: Sequence[Path], run: Callable[..., list[Any]]) -> Plan:
    """Return the plan with what must be known of all buckets before the first can be divided; `run` is run_tasks."""

    def tallied(plan: Plan, what: str) -> list[Tally]:
        buckets = [(plan, bucket, bucket_files, what) for bucket in range(plan.num_buckets)]
        return sorted(run(tally, buckets, title="Counting"), key=lambda each: each.bucket)

    config = plan.config
    if config.split_by == "stratified":
        shares = {"validation_share": config.validation_share, "test_share": config.test_share}
        plan = replace(plan, settled=replace(plan.settled, cuts=cuts_of(tallied(plan, "splits"), **shares)))
    if config.balance != "none":
        plan = replace(plan, balance=balance_of(tallied(plan, "train"), config.balance))
    if config.augment:
        plan = replace(plan, texts=tuple(each.files[0] for each in tallied(plan, "texts")))
    return plan


def _batches(units: Sequence[Unit], size_bytes: int) -> Iterator[list[Unit]]:
    """Put units that follow one another together until they have a size: many small files are one task."""
    batch: list[Unit] = []
    for unit in units:
        batch.append(unit)
        if sum(each.size_bytes for each in batch) >= size_bytes:
            yield batch
            batch = []
    if batch:
        yield batch


def _sources(config: PrepareConfig, files: Sequence[InputFile]) -> list[dict[str, Any]]:
    """Describe each source as it was read."""
    return [
        source.model_dump(mode="json") | {"files": sum(file.source == number for file in files)}
        for number, source in enumerate(config.sources)
    ]

"""Prepares reviews: raw sources to train, validation and test, each text in one of them; knows no format."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

from sentiment_ray.cluster import connect
from sentiment_ray.data import leakage_files
from sentiment_ray.data.chat_costs import ChatCounts, count_chats, describe, load_tokenizer
from sentiment_ray.data.chat_export import check_target, write_chats
from sentiment_ray.data.checks import (
    EmbedTexts,
    TestSet,
    choose_sampled_shares,
    compare_rows,
    list_test_set,
    require_check_inputs,
    search_label_issues,
)
from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.counts import check_rejected, check_splits, manifest_of, summarise
from sentiment_ray.data.ranks import Tally, balance_of, cuts_of
from sentiment_ray.data.readers.units import Unit
from sentiment_ray.data.report.bucket_stats import add_stats
from sentiment_ray.data.report.findings import CheckResults
from sentiment_ray.data.report.numbers import describe_checks
from sentiment_ray.data.report.output import (
    check_report_directory,
    finish_check,
    warn_about_crossed_limits,
    write_reports,
)
from sentiment_ray.data.shuffle import BUCKETS_DIRECTORY, Plan, collect, divide, tally
from sentiment_ray.data.sources import InputFile, check_files, list_files, passed_over, resolve, tell_passed_over
from sentiment_ray.data.split import Settled, merge_pins
from sentiment_ray.manifest import describe_files, fingerprint, finished_result, new_directory, write_json
from sentiment_ray.versions import installed_versions

MANIFEST_NAME = "prepared.json"
BUCKET_BYTES = 64 << 20
LEAST_BUCKETS = 2
TASK_BYTES = 32 << 20
LEAST_TASK_BYTES = 1 << 20
TASKS = 16
"""Tasks that even a small input is read in, so that all CPUs have work."""


def prepare_reviews(config: PrepareConfig, *, embed: EmbedTexts | None = None) -> dict[str, Any]:
    """Read, check, deduplicate and split the sources; return the output, the counts and whether it was there already.

    `embed` is what wrong labels are looked for with when `model` is set. ConfigError or DataError, and no output, when
    a file, a column or too many rows are defective, or when a split or a label would be without rows. With `check`
    only the reports are written, before such an error or a GateError for crossed limits.
    """
    config = resolve(config)
    require_check_inputs(config)
    check_target(config)
    output, files, test_set = Path(config.output), list_files(config), list_test_set(config)
    settings = config.model_dump(mode="json", exclude={"output", "restart", "check", "to_chat", "system_message"})
    described = describe_files([file.path for file in files])
    wanted = fingerprint({"config": settings, "files": described, "against": describe_files(list(test_set.paths))})
    if config.check:
        check_report_directory(output, MANIFEST_NAME)
    elif finished := finished_result(output, MANIFEST_NAME, wanted, restart=config.restart):
        write_chats(config, output, wanted)
        return _result(config, finished["counts"], skipped=True)

    units = check_files(config, files)
    tell_passed_over(config)
    load_tokenizer(config.hosted)
    connect()
    with new_directory(output) as directory:
        results = _divide_all(config, units, test_set, directory, embed)
        manifest = (
            manifest_of(config, results.summary)
            | _chats(config, units)
            | {
                "checks": describe_checks(results),
                "sources": _sources(config, files),
                "files": described,
                "config": settings,
                "fingerprint": wanted,
                "versions": installed_versions("ray", "pyarrow"),
            }
        )
        write_reports(manifest, results, directory)
        if not config.check:
            write_json(directory / MANIFEST_NAME, manifest)
    if config.check:
        return finish_check(manifest, results)
    warn_about_crossed_limits(manifest["checks"]["crossed"])
    write_chats(config, output, wanted)
    return _result(config, results.summary.counts, skipped=False)


def _result(config: PrepareConfig, counts: dict[str, int], *, skipped: bool) -> dict[str, Any]:
    result = {"output": config.output, "counts": counts, "skipped": skipped}
    return result if config.to_chat is None else result | {"to_chat": config.to_chat}


def _divide_all(
    config: PrepareConfig, units: Sequence[Unit], test_set: TestSet, directory: Path, embed: EmbedTexts | None
) -> CheckResults:
    """Write the splits into `directory`; DataError when they could not be trained on."""
    from sentiment_ray.data.ray_tasks import run_tasks

    size = sum(unit.size_bytes for unit in units)
    plan = Plan(config, directory, num_buckets=max(LEAST_BUCKETS, -(-size // BUCKET_BYTES)))
    batches = list(_batches(units, max(LEAST_TASK_BYTES, min(TASK_BYTES, size // TASKS))))
    collected = run_tasks(collect, [(plan, *each) for each in enumerate(batches)], title="Reading")
    read = summarise(config, collected, [])
    if not config.check:
        check_rejected(config, read)
    good_rows = read.counts["rows_in"] - read.counts["rejected"]
    plan = replace(plan, sampled_shares=choose_sampled_shares(config, good_rows))
    bucket_files = sorted(path for part in collected for path in part.bucket_files)
    divided, comparison = [], None
    if bucket_files:
        comparison = compare_rows(plan, bucket_files, test_set, num_rows=good_rows)
        plan = replace(plan, settled=Settled(merge_pins([pin for part in collected for pin in part.pinned_groups])))
        plan = with_tallies(plan, bucket_files, run_tasks)
        buckets = [(plan, bucket, bucket_files) for bucket in range(plan.num_buckets)]
        divided = run_tasks(divide, buckets, title="Splitting")
    summary = summarise(config, collected, divided)
    if not config.check:
        check_splits(config, summary)
    for name in (BUCKETS_DIRECTORY, leakage_files.DIRECTORY):
        rmtree(directory / name, ignore_errors=True)
    stats = add_stats(config, [part.stats for part in divided])
    return CheckResults(config, summary, stats, comparison, search_label_issues(config, stats, embed))


def _chats(config: PrepareConfig, units: Sequence[Unit]) -> dict[str, Any]:
    """Describe the chat sources, if there are any, as a hosted fine-tuning API would see them."""
    from sentiment_ray.data.ray_tasks import run_tasks

    chats = [unit for unit in units if unit.format == "chat"]
    if not chats:
        return {}
    by_source = {unit.source: ChatCounts() for unit in chats}
    for source, counts in run_tasks(count_chats, [(unit, config.hosted) for unit in chats], title="Counting tokens"):
        by_source[source] += counts
    described = {config.sources[source].name: describe(counts, config.hosted) for source, counts in by_source.items()}
    return {"chat": described}


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
        source.model_dump(mode="json")
        | {"files": sum(file.source == number for file in files), "passed_over": len(passed_over(source))}
        for number, source in enumerate(config.sources)
    ]

"""Prepares reviews: from raw sources to the train, validation and test splits. Starts every round of tasks."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

from sentiment_ray.atomic_files import new_directory
from sentiment_ray.cluster import connect
from sentiment_ray.data import leakage_files
from sentiment_ray.data.balance import compute_balance
from sentiment_ray.data.chat_costs import count_chats, describe_chats, load_tokenizer
from sentiment_ray.data.chat_export import check_target, write_chats
from sentiment_ray.data.check_config import choose_sampled_shares
from sentiment_ray.data.checks import (
    EmbedTexts,
    TestSet,
    compare_rows,
    list_test_set,
    require_check_inputs,
    search_label_issues,
)
from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.counts import (
    add_reports,
    check_rejected,
    check_splits,
    describe_counts,
    tell_about_left_out,
    warn_about_rejected,
)
from sentiment_ray.data.first_labels import check_first_labels
from sentiment_ray.data.job import PrepareJob
from sentiment_ray.data.ranks import SortedKeys
from sentiment_ray.data.readers.read_task import ReadTask
from sentiment_ray.data.report.bucket_stats import add_stats
from sentiment_ray.data.report.findings import CheckResults
from sentiment_ray.data.report.numbers import describe_checks
from sentiment_ray.data.report.output import (
    check_report_directory,
    finish_check,
    warn_about_crossed_limits,
    write_reports,
)
from sentiment_ray.data.shuffle import BUCKETS_DIRECTORY, REJECTED_DIRECTORY, collect_rows
from sentiment_ray.data.sources import (
    describe_sources,
    list_sources,
    make_read_tasks,
    make_source_files,
    resolve_paths,
)
from sentiment_ray.data.split import SplitContext, find_label_cut_points, merge_fixed_groups, needs_label_cut_points
from sentiment_ray.data.split_tasks import write_keys, write_splits
from sentiment_ray.manifest import (
    add_hashes,
    describe_inputs,
    find_finished_result,
    fingerprint,
    read_earlier,
    write_json,
)
from sentiment_ray.paths import check_output
from sentiment_ray.versions import installed_versions

MANIFEST_NAME = "prepared.json"
OWN_FILES = re.compile(
    r"(train|validation|test|rejected)/part-\d+\.parquet|(prepared|report)\.json|report\.html|label_issues\.jsonl"
)
"""The files of an output. One with other files in it is not replaced."""
KEYS_WITHOUT_EFFECT = {"output", "restart", "check", "to_chat", "system_message"}
"""Keys that do not change the prepared rows, so they are not part of the fingerprint."""
BUCKET_BYTES = 64 << 20
MIN_BUCKETS = 2
MAX_TASK_BYTES = 32 << 20
MIN_TASK_BYTES = 1 << 20
MIN_TASKS = 16
"""Number of tasks to aim for with a small input, so that all CPUs have work."""


def prepare_reviews(config: PrepareConfig, *, embed: EmbedTexts | None = None) -> dict[str, Any]:
    """Read, check, deduplicate and split the sources; return the output, the counts and whether a result was reused.

    `embed` computes the embeddings that the search for wrong labels needs if `model` is set. ConfigError or DataError,
    and no output, if a file or a column is defective, too many rows are, or a split or a label would have no rows. With
    `check`, only the reports are written, and then such an error is raised, or a GateError for crossed limits.
    """
    config = resolve_paths(config)
    listings = list_sources(config)
    files = make_source_files(config, listings)
    check_target(config)
    require_check_inputs(config)
    test_set = list_test_set(config)
    settings = config.model_dump(mode="json", exclude=KEYS_WITHOUT_EFFECT)
    output = Path(config.output)
    earlier = {} if config.check else read_earlier(output / MANIFEST_NAME)
    inputs = {
        "files": describe_inputs([file.path for file in files], earlier.get("files", [])),
        "against": describe_inputs(list(test_set.paths), earlier.get("against", [])),
    }
    made_from = fingerprint({"config": settings} | inputs)
    finished = None
    if config.check:
        check_report_directory(output, MANIFEST_NAME)
        check_output(output, replaces_directory=True)
    else:
        finished = find_finished_result(
            output, MANIFEST_NAME, made_from, restart=config.restart, own_files=OWN_FILES.fullmatch
        )
    if finished:
        manifest = finished
    else:
        tasks = make_read_tasks(config, files)
        if not config.check:
            check_first_labels(config, tasks)
        described = {"sources": describe_sources(config, listings), "config": settings}
        described |= {name: some if config.check else add_hashes(some) for name, some in inputs.items()}
        manifest, results = _prepare(config, tasks, test_set, described | {"fingerprint": made_from}, embed)
        if config.check:
            return finish_check(manifest, results)
        warn_about_crossed_limits(manifest["checks"]["crossed"])
    counts = manifest["counts"]
    tell_about_left_out(config, counts)
    warn_about_rejected(counts, manifest["checks"]["rejected"], str(output / REJECTED_DIRECTORY))
    write_chats(config, output, made_from)
    result = {"output": config.output, "counts": counts, "skipped": bool(finished)}
    return result if config.to_chat is None else result | {"to_chat": config.to_chat}


def _prepare(
    config: PrepareConfig,
    tasks: Sequence[ReadTask],
    test_set: TestSet,
    described: dict[str, Any],
    embed: EmbedTexts | None,
) -> tuple[dict[str, Any], CheckResults]:
    """Write the output; return the manifest, with `described` in it, and what the checks found."""
    load_tokenizer(config.hosted)
    connect()
    with new_directory(Path(config.output)) as directory:
        results = _split_rows(config, tasks, test_set, directory, embed)
        manifest = (
            describe_counts(config, results.counts)
            | _describe_chat_sources(config, tasks)
            | {"checks": describe_checks(results)}
            | described
            | {"versions": installed_versions("ray", "pyarrow")}
        )
        write_reports(manifest, results, directory)
        if not config.check:
            write_json(directory / MANIFEST_NAME, manifest)
    return manifest, results


def _split_rows(
    config: PrepareConfig, tasks: Sequence[ReadTask], test_set: TestSet, directory: Path, embed: EmbedTexts | None
) -> CheckResults:
    """Write the splits to `directory` and check the rows; DataError if the splits cannot be trained on."""
    from sentiment_ray.data.ray_tasks import run_tasks

    size_bytes = sum(task.size_bytes for task in tasks)
    job = PrepareJob(config, directory, num_buckets=max(MIN_BUCKETS, -(-size_bytes // BUCKET_BYTES)))
    batches = _group_tasks(tasks, max(MIN_TASK_BYTES, min(MAX_TASK_BYTES, size_bytes // MIN_TASKS)))
    collected = run_tasks(collect_rows, [(job, number, batch) for number, batch in enumerate(batches)], title="Reading")
    counts = add_reports(config, collected, [])
    if not config.check:
        check_rejected(config, counts)
    good_rows = counts.totals["rows_in"] - counts.totals["rejected"]
    job = replace(job, sampled_shares=choose_sampled_shares(config, good_rows))
    bucket_files = sorted(path for report in collected for path in report.bucket_files)
    split, comparison = [], None
    if bucket_files:
        comparison = compare_rows(job, bucket_files, test_set, num_rows=good_rows)
        fixed_groups = merge_fixed_groups([part for report in collected for part in report.fixed_groups])
        job = add_global_counts(replace(job, split_context=SplitContext(fixed_groups)), bucket_files, run_tasks)
        buckets = [(job, bucket, bucket_files) for bucket in range(job.num_buckets)]
        split = run_tasks(write_splits, buckets, title="Splitting")
    counts = add_reports(config, collected, split)
    if not config.check:
        check_splits(config, counts)
    for name in (BUCKETS_DIRECTORY, leakage_files.DIRECTORY):
        rmtree(directory / name, ignore_errors=True)
    stats = add_stats(config, [report.stats for report in split])
    return CheckResults(config, counts, stats, comparison, search_label_issues(config, stats, tasks, embed))


def add_global_counts(job: PrepareJob, bucket_files: Sequence[Path], run: Callable[..., list[Any]]) -> PrepareJob:
    """Return the job with what must be known of all buckets before the first one is split. `run` is `run_tasks`."""

    def write_all_keys(job: PrepareJob, kind: str) -> list[SortedKeys]:
        buckets = [(job, bucket, bucket_files, kind) for bucket in range(job.num_buckets)]
        return sorted(run(write_keys, buckets, title="Counting"), key=lambda keys: keys.bucket)

    config = job.config
    if needs_label_cut_points(config):
        cut_points = find_label_cut_points(write_all_keys(job, "splits"), config)
        job = replace(job, split_context=replace(job.split_context, label_cut_points=cut_points))
    if config.balance != "none":
        job = replace(job, balance=compute_balance(write_all_keys(job, "train"), config.balance))
    if config.augment:
        job = replace(job, known_texts=tuple(keys.files[0] for keys in write_all_keys(job, "texts")))
    return job


def _describe_chat_sources(config: PrepareConfig, tasks: Sequence[ReadTask]) -> dict[str, Any]:
    from sentiment_ray.data.ray_tasks import run_tasks

    chat_tasks = [
        (task, config.hosted, config.sources[task.source_index].encoding) for task in tasks if task.format == "chat"
    ]
    if not chat_tasks:
        return {}
    return {"chat": describe_chats(config, run_tasks(count_chats, chat_tasks, title="Counting tokens"))}


def _group_tasks(tasks: Sequence[ReadTask], size_bytes: int) -> Iterator[list[ReadTask]]:
    """Group consecutive tasks until each group has a size, so that many small files are read in one task."""
    group: list[ReadTask] = []
    group_bytes = 0
    for task in tasks:
        group.append(task)
        group_bytes += task.size_bytes
        if group_bytes >= size_bytes:
            yield group
            group, group_bytes = [], 0
    if group:
        yield group

"""Writes the files about a whole run: the group means, the quarantined files, the report and its page."""

import io

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from sentiment_ray.locked_store import LockedStore
from sentiment_ray.manifest import format_json
from sentiment_ray.score.aggregation import compute_group_means, merge_group_sums
from sentiment_ray.score.columns import make_quarantine_table
from sentiment_ray.score.commit import RunResults, Summary, describe_bytes
from sentiment_ray.score.file_tables import Files, read_names
from sentiment_ray.score.output_names import BAD_FILES_NAME, GROUP_PARTS, GROUPS_NAME, PAGE_NAME, REPORT_NAME
from sentiment_ray.score.page import write_page
from sentiment_ray.score.report import RunInputs, build_report
from sentiment_ray.score.scores_manifest import RunFacts

MERGED_AT_ONCE = 64
"""Group sums of parts that are read and added up together."""


def write_summary(store: LockedStore, inputs: RunInputs, results: RunResults) -> Summary:
    """Write all files about a run, and return them with what the manifest says of the run."""
    config, bundle = inputs.config, inputs.bundle
    files = _write_bad_files(store, results) | _write_group_means(store, inputs, results)
    report = build_report(inputs, results)
    files |= _write(store, REPORT_NAME, format_json(report, indent=2).encode())
    files |= _write(store, PAGE_NAME, write_page(report).encode())
    facts = RunFacts(
        bundle_id=bundle.manifest.bundle_id,
        engine=bundle.engine,
        variant=bundle.variant,
        labels=bundle.manifest.labels,
        config=config.model_dump(mode="json", exclude={"output", "restart", "repair", "wait", "plan"}),
        versions=report["versions"],
        gpus=results.totals.gpus,
    )
    return Summary(files, facts)


def _write_bad_files(store: LockedStore, results: RunResults) -> Files:
    bad_files = results.counts.files_quarantined
    rows = [{"path": bad.path, "row": None, "rows": bad.rows, "reason": bad.reason} for bad in bad_files]
    return _write_table(store, BAD_FILES_NAME, make_quarantine_table(rows)) if rows else {}


def _write_group_means(store: LockedStore, inputs: RunInputs, results: RunResults) -> Files:
    written, group_by = results.written, inputs.config.group_by
    names = read_names(written.filter(pc.starts_with(written["name"], f"{GROUP_PARTS}/")))
    if not group_by or not names:
        return {}
    total: list[pa.Table] = []
    for start in range(0, len(names), MERGED_AT_ONCE):
        tables = store.map(
            lambda name: parquet.read_table(io.BytesIO(store.read(name))), names[start : start + MERGED_AT_ONCE]
        )
        total = [merge_group_sums([*total, *tables])]
    return _write_table(store, GROUPS_NAME, compute_group_means(total[0], group_by, inputs.bundle.manifest.labels))


def _write_table(store: LockedStore, name: str, table: pa.Table) -> Files:
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return _write(store, name, buffer.getvalue())


def _write(store: LockedStore, name: str, data: bytes) -> Files:
    store.write(name, data)
    return {name: describe_bytes(data)}

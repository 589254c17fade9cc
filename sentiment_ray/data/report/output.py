"""Writes what the checks leave behind: the page, the numbers, a warning on stderr, or the error that ends --check."""

import logging
from pathlib import Path
from shutil import rmtree
from typing import Any

from sentiment_ray import log
from sentiment_ray.data.counts import check_rejected, check_splits, warn_about_rejected
from sentiment_ray.data.report.findings import LABEL_ISSUES_NAME, CheckResults, describe_crossed_limits
from sentiment_ray.data.report.page import render_report
from sentiment_ray.errors import ConfigError, GateError
from sentiment_ray.manifest import format_json, read_json, write_json
from sentiment_ray.paths import refuse_file

PAGE_NAME, REPORT_NAME = "report.html", "report.json"


def check_report_directory(output: Path, manifest_name: str) -> None:
    """Raise ConfigError unless the output is free, or holds nothing but the reports of an earlier --check."""
    refuse_file(output)
    if (output / manifest_name).is_file():
        raise ConfigError(
            f"output = {str(output)!r} holds prepared reviews, which --check would replace. Choose another output."
        )
    if not output.exists():
        return
    names = {path.name for path in output.glob("*")}
    has_only_reports = names <= {PAGE_NAME, REPORT_NAME, LABEL_ISSUES_NAME} and _is_report(output / REPORT_NAME)
    if names and not has_only_reports:
        raise ConfigError(
            f"output = {str(output)!r} exists and holds more than a report of --check. Choose another output."
        )


def _is_report(path: Path) -> bool:
    return path.is_file() and "checks" in read_json(path)


def write_reports(manifest: dict[str, Any], results: CheckResults, directory: Path) -> None:
    """Write the page, and the list of labels that look wrong.

    With `check`, also write the numbers as JSON, and remove everything else.
    """
    config = results.config
    examples = results.stats.examples | {"suspect_labels": results.label_issues.get("examples", [])}
    page = render_report(manifest | config.model_dump(mode="json", exclude={"sources"}), examples)
    if config.check:
        for path in directory.iterdir():
            rmtree(path)
        write_json(directory / REPORT_NAME, manifest)
    (directory / PAGE_NAME).write_text(page, encoding="utf-8")
    ranked = results.label_issues.get("ranked", [])
    if ranked:
        lines = "".join(format_json(row, ensure_ascii=False) + "\n" for row in ranked)
        (directory / LABEL_ISSUES_NAME).write_text(lines, encoding="utf-8")


def warn_about_crossed_limits(crossed: list[dict[str, Any]]) -> None:
    """Write a line to stderr that names the crossed limits, if there are any."""
    if crossed:
        log.notify(f"crossed limits of [prepare.limits]: {describe_crossed_limits(crossed)}", level=logging.WARNING)


def finish_check(manifest: dict[str, Any], results: CheckResults) -> dict[str, Any]:
    """Return the result of --check.

    Raises DataError for reviews that cannot be prepared, and GateError when a limit is crossed.
    """
    config = results.config
    check_rejected(config, results.counts)
    check_splits(config, results.counts)
    page = Path(config.output) / PAGE_NAME
    warn_about_rejected(manifest["counts"], manifest["checks"]["rejected"], str(page))
    crossed = manifest["checks"]["crossed"]
    if crossed:
        raise GateError(
            f"The reviews cross limits of [prepare.limits]: {describe_crossed_limits(crossed)}. See {page}."
        )
    return {"output": config.output, "counts": results.counts.totals, "crossed": crossed}

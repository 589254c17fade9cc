"""Renders the page about the reviews: one HTML file that loads nothing from a network. Knows numbers, no files."""

from typing import Any

from sentiment_ray.data.check_table import CHECKS, TEXT_CHECKS
from sentiment_ray.data.config import SPLITS
from sentiment_ray.data.report.bucket_stats import MAX_EXAMPLES, MAX_LENGTH
from sentiment_ray.report.formats import format_number, format_percent
from sentiment_ray.report.page import render_page
from sentiment_ray.report.plots import draw_bars, draw_histogram

TEMPLATE = "data/report/report.html.j2"
ROWS_PER_CLUSTER = 4
TEXT_SECTION = "texts"
"""Anchor of the section that shows all checks of texts."""


def render_report(report: dict[str, Any], examples: dict[str, list[dict[str, Any]]]) -> str:
    """Return the page for the numbers of prepared.json or report.json and the keys of [prepare].

    `examples` holds rows with their texts by check; it is empty where no text may be shown.
    """
    checks = report["checks"]
    values = {
        "headline": _write_headline(checks),
        "findings": _add_sections(checks["findings"]),
        "not_run": {check.title: checks["not_run"][check.name] for check in CHECKS if check.name in checks["not_run"]},
        "figures": _draw_labels(report["by_split"]) + _draw_lengths(checks),
        "source_pairs": _arrange_source_pairs(checks["duplicates"]),
        "text_checks": _arrange_text_checks(checks["quality"]),
        "splits": SPLITS,
        "examples": {check: rows[:MAX_EXAMPLES] for check, rows in examples.items()},
        "label_issues": examples.get("suspect_labels", []),
        "clusters": _group_clusters(examples.get("near_duplicates", [])),
        "max_length": MAX_LENGTH,
    }
    return render_page(TEMPLATE, report | values)


def _write_headline(checks: dict[str, Any]) -> str:
    rows, num_crossed = checks["rows"], len(checks["crossed"])
    num_flaws = sum(bool(line["rows"]) for line in checks["findings"])
    if num_crossed:
        verdict = f"{num_crossed} limit{'' if num_crossed == 1 else 's'} crossed"
    elif num_flaws:
        verdict = f"{num_flaws} kind{'' if num_flaws == 1 else 's'} of flaws found"
    else:
        verdict = "no flaw found"
    return f"{format_number(rows['in'])} rows read, {format_number(rows['kept'])} kept, {verdict}"


def _add_sections(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the findings, each with the anchor of the section that tells more, or none."""
    sections = {check.name: TEXT_SECTION if check.text_function else check.section for check in CHECKS}
    return [line | {"section": sections[line["name"]]} for line in findings]


def _draw_labels(by_split: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    figures = []
    for split, by_label in by_split.items():
        total = sum(by_label.values())
        if total:
            shares = [rows / total for rows in by_label.values()]
            counts = ", ".join(f"{label} {format_number(rows)}" for label, rows in by_label.items())
            figures.append(
                {
                    "title": f"Labels in {split}.",
                    "note": f"{format_number(total)} rows: {counts}.",
                    "description": "",
                    "svg": draw_bars(list(by_label), shares, [format_percent(share) for share in shares]),
                }
            )
    return figures


def _draw_lengths(checks: dict[str, Any]) -> list[dict[str, Any]]:
    figures = []
    for unit in ("words", "tokens"):
        lengths = checks[unit]
        if lengths:
            ends, shares = _trim_bins(lengths["bins"])
            texts = (f"up to {end} {format_percent(share)}" for end, share in zip(ends, shares, strict=True) if share)
            figures.append(
                {
                    "title": f"Length in {unit}.",
                    "note": f"Half of the rows have up to {format_number(lengths['median'])} {unit}, "
                    f"99 in 100 have up to {format_number(lengths['p99'])}.",
                    "description": ", ".join(texts),
                    "svg": draw_histogram(["", *map(str, ends)], shares),
                }
            )
    return figures


def _trim_bins(bins: dict[str, int]) -> tuple[list[int], list[float]]:
    """Return the ends of the bins from the first filled one to the last, and the share of the rows in each."""
    filled = [int(end) for end, rows in bins.items() if rows]
    ends = [int(end) for end in bins if min(filled) <= int(end) <= max(filled)]
    return ends, [bins[str(end)] / sum(bins.values()) for end in ends]


def _arrange_source_pairs(duplicates: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a line for each source; a cell above the diagonal is None, because the one below has the same number."""
    return [
        {"source": name, "cells": [rows if column <= line else None for column, rows in enumerate(cells)]}
        for line, (name, cells) in enumerate(zip(duplicates["sources"], duplicates["matrix"], strict=True))
    ]


def _arrange_text_checks(by_check: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    """Return a line for each check of texts, with its rows by source."""
    return [
        {
            "name": check.name,
            "title": check.title,
            "rows": list(by_check[check.name].values()),
            "total": sum(by_check[check.name].values()),
        }
        for check in TEXT_CHECKS
    ]


def _group_clusters(examples: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the examples by cluster, a few rows of each."""
    by_cluster: dict[int, list[dict[str, Any]]] = {}
    for row in examples:
        by_cluster.setdefault(row["cluster"], []).append(row)
    return [rows[:ROWS_PER_CLUSTER] for rows in by_cluster.values() if len(rows) > 1]

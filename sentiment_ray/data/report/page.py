"""The page about reviews that were checked: one HTML file that needs no network; knows no files."""

from typing import Any

from sentiment_ray.data.config import SPLITS
from sentiment_ray.data.report.bucket_stats import LONGEST, MAX_SAMPLES, ROWS_PER_CLUSTER
from sentiment_ray.data.report.text_flags import TITLES
from sentiment_ray.report.formats import number, percent
from sentiment_ray.report.page import render_page
from sentiment_ray.report.plots import bars, columns

TEMPLATE = "data/report/report.html.j2"
WHERE = {
    "rejected": "rejected", "conflicting": "conflicting", "duplicates": "duplicates", "leaked": "leaked",
    "near_duplicates": "near", "cut": "lengths", "suspect_labels": "suspects", "language": "language",
}  # fmt: skip
"""Where on the page a finding is told in full; those of the texts stand together."""
MISSING = {
    "near_duplicates": "near duplicates",
    "leaked": "rows that stand in the test set",
    "cut": "rows that the model cuts",
    "language": "other languages",
    "suspect_labels": "labels that look wrong",
}
"""Checks that need to be asked for, or can be turned off, for people."""


def write_page(report: dict[str, Any], samples: dict[str, list[dict[str, Any]]]) -> str:
    """Return the page for the numbers of a preparation, plots included, as HTML that loads nothing.

    `samples` holds rows with their texts by kind; it is empty where no text may be shown.
    """
    checks = report["checks"]
    values = {
        "headline": _headline(report),
        "findings": [line | {"where": WHERE.get(line["name"], "texts")} for line in checks["findings"]],
        "figures": _figures(report),
        "duplicates_across": _across(checks["duplicates"]),
        "quality": _quality(checks["quality"]),
        "splits": SPLITS,
        "samples": {kind: rows[:MAX_SAMPLES] for kind, rows in samples.items()}
        | {"suspect_labels": samples.get("suspect_labels", [])},
        "clusters": _clusters(samples.get("near_duplicates", [])),
        "longest": LONGEST,
        "missing": MISSING,
    }
    return render_page(TEMPLATE, report | values)


def _headline(report: dict[str, Any]) -> str:
    rows, crossed = report["checks"]["rows"], report["checks"]["crossed"]
    parts = [f"{number(rows['in'])} rows read, {number(rows['kept'])} kept"]
    if crossed:
        parts.append(f"{len(crossed)} limit{'' if len(crossed) == 1 else 's'} crossed")
    else:
        found = sum(bool(line["rows"]) for line in report["checks"]["findings"])
        parts.append(f"{found} kind{'' if found == 1 else 's'} of flaws found" if found else "no flaw found")
    return ", ".join(parts)


def _figures(report: dict[str, Any]) -> list[dict[str, Any]]:
    checks, figures = report["checks"], []
    for split, counts in report["by_split"].items():
        total = sum(counts.values())
        if total:
            shares = [rows / total for rows in counts.values()]
            texts = [f"{percent(share)}" for share in shares]
            told = ", ".join(f"{label} {number(rows)}" for label, rows in counts.items())
            figures.append(
                {
                    "title": f"Labels in {split}.",
                    "note": f"{number(total)} rows: {told}.",
                    "description": "",
                    "svg": bars(list(counts), shares, texts),
                }
            )
    for unit in ("words", "tokens"):
        if checks[unit]:
            figures.append(_length_figure(unit, checks[unit]))
    return figures


def _length_figure(unit: str, lengths: dict[str, Any]) -> dict[str, Any]:
    bins = {int(end): rows for end, rows in lengths["bins"].items()}
    filled = [end for end, rows in bins.items() if rows]
    shown = [end for end in bins if min(filled) <= end <= max(filled)]
    total = sum(bins.values())
    shares = [bins[end] / total for end in shown]
    described = ", ".join(f"up to {end} {percent(share)}" for end, share in zip(shown, shares, strict=True) if share)
    note = f"Half of the rows have up to {number(lengths['median'])}, 99 in 100 up to {number(lengths['p99'])}."
    return {
        "title": f"Length in {unit}.",
        "note": note,
        "description": described,
        "svg": columns(["", *map(str, shown)], shares),
    }


def _across(duplicates: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of the matrix of sources; a cell is None above the diagonal, where it would repeat."""
    return [
        {"source": name, "cells": [rows if across <= place else None for across, rows in enumerate(line)]}
        for place, (name, line) in enumerate(zip(duplicates["sources"], duplicates["matrix"], strict=True))
    ]


def _quality(quality: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    counts = {name: list(quality[name].values()) for name in TITLES}
    return [{"name": name, "title": TITLES[name], "counts": each, "total": sum(each)} for name, each in counts.items()]


def _clusters(samples: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return samples by cluster, a few rows of each."""
    by_cluster: dict[int, list[dict[str, Any]]] = {}
    for sample in samples:
        by_cluster.setdefault(sample["cluster"], []).append(sample)
    return [rows[:ROWS_PER_CLUSTER] for rows in by_cluster.values() if len(rows) > 1]

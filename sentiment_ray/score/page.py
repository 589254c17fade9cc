"""Writes _report.html, the page about a scored corpus, from _report.json; the page needs no network."""

import statistics
from typing import Any

from sentiment_ray.inference.drift import MEASURES, compute_chance_drift, describe_drift, name_token_bin
from sentiment_ray.report.formats import format_number, format_percent
from sentiment_ray.report.page import render_page
from sentiment_ray.report.plots import draw_bars, draw_histogram

TEMPLATE = "score/report.html.j2"
MAX_LINES = 20
"""Longest list on the page. The page counts the other lines; the quarantine has them all."""
MAX_BARS = 12
TITLES = {
    "labels": "Labels",
    "confidence": "Confidence",
    "tokens": "Text length",
    "script": "Script",
    "words": "Words",
}
NAMES = {"none": "no letter", "known": "known tokens", "unknown": "unknown tokens"}
"""Longer names of bins, which a reader understands without the measure."""


def write_page(report: dict[str, Any]) -> str:
    """Return the page for the report of a scoring run as HTML, plots included, that loads nothing."""
    profile, reference, workers = report["profile"], report["reference"], report["workers"]
    values = {
        "headline": _write_headline(report),
        "figures": _draw_figures(profile, reference),
        "drift_rows": _make_drift_rows(profile, reference, report["drift"]),
        "speed": _describe_speed(workers),
        "speed_figure": _draw_speed(workers),
        "max_lines": MAX_LINES,
    }
    return render_page(TEMPLATE, report | values)


def _write_headline(report: dict[str, Any]) -> str:
    scored = f"{format_number(report['rows_scored'])} rows scored" if report["rows_scored"] else "No rows scored"
    parts = [scored, f"{format_number(report['rows_quarantined'])} quarantined"]
    shares = _compute_shares(report["profile"], "labels")
    if shares:
        label = max(shares, key=lambda name: shares[name])
        parts.append(f"{format_percent(shares[label])} {label}")
    return ", ".join(parts)


def _compute_shares(profile: dict[str, Any], measure: str) -> dict[str, float]:
    """Return the share of each bin of a measure; nothing when the profile has no rows."""
    counts = profile.get(measure, {})
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()} if total else {}


def _make_drift_rows(
    profile: dict[str, Any], reference: dict[str, Any], drift: dict[str, float]
) -> list[dict[str, Any]]:
    """Return a row of the table for each measure: its index, what the index means, and the bin that changed most."""
    chance = compute_chance_drift(reference, profile) if drift else {}
    rows = []
    for measure in (name for name in MEASURES if name in drift):
        before, current = _compute_shares(reference, measure), _compute_shares(profile, measure)
        changes = {name: abs(current.get(name, 0) - before.get(name, 0)) for name in before | current}
        largest = "unknown" if measure == "words" else max(changes, key=lambda name: changes[name])
        verdict = describe_drift(drift[measure])
        if verdict != "stable" and drift[measure] <= chance[measure]:
            verdict = "too few rows to tell"
        rows.append(
            {
                "title": TITLES[measure],
                "index": drift[measure],
                "verdict": verdict,
                "largest_change": f"{largest} tokens" if measure == "tokens" else NAMES.get(largest, largest),
                "before": before.get(largest, 0),
                "current": current.get(largest, 0),
            }
        )
    return rows


def _draw_figures(profile: dict[str, Any], reference: dict[str, Any]) -> list[dict[str, Any]]:
    """Return title, note, description and SVG of a plot for labels, confidence, length and script."""
    if not profile["rows"]:
        return []
    cut = profile["truncated"] / profile["rows"]
    notes = {
        "labels": "rows with each label",
        "confidence": "rows by the probability of their label",
        "tokens": f"rows by number of tokens; {format_percent(cut)} were longer than the model reads and were cut",
        "script": "rows by the writing system of their first letter",
    }
    figures = []
    for measure, note in notes.items():
        current, before = _compute_shares(profile, measure), _compute_shares(reference, measure)
        names = _order_bins(measure, current, before)
        values = [current.get(name, 0) for name in names]
        compared = [before.get(name, 0) for name in names] if before else []
        if measure in ("confidence", "tokens"):
            ends = [name.partition("-")[2] for name in names]
            edges = [end if measure == "tokens" or end[2:] in ("00", "20", "40", "60", "80") else "" for end in ends]
            svg = draw_histogram(["", *edges], values, compared)
        else:
            names = [NAMES.get(name, name) if measure == "script" else name for name in names]
            svg = draw_bars(names, values, [format_percent(share) for share in values], compared)
        described = ", ".join(
            f"{name} {format_percent(share)}" for name, share in zip(names, values, strict=True) if share
        )
        figures.append({"title": TITLES[measure], "note": f"Share of {note}.", "description": described, "svg": svg})
    return figures


def _order_bins(measure: str, current: dict[str, float], before: dict[str, float]) -> list[str]:
    """Return the bins to draw: labels in their order, scripts by size, numbers from the first bin that has a row."""
    names = list(dict.fromkeys([*current, *before]))
    if measure == "labels":
        return names
    filled = [name for name in names if current.get(name) or before.get(name)]
    if measure == "script":
        return sorted(filled, key=lambda name: -current.get(name, 0))[:MAX_BARS]
    if measure == "tokens":
        longest = max(int(name.partition("-")[2]) for name in filled)
        names = [name_token_bin(1 << power) for power in range(2, longest.bit_length())]
    return names[min(names.index(name) for name in filled) :]


def _describe_speed(workers: list[dict[str, Any]]) -> str:
    """Return a sentence on the rows that the workers scored a second."""
    rates = [worker["rows"] / worker["seconds"] for worker in workers if worker["seconds"]]
    if not rates:
        return "No worker has scored a row."
    if len(rates) == 1:
        return f"One worker scored {format_number(rates[0])} rows a second."
    spread = f"from {format_number(min(rates))} to {format_number(max(rates))}"
    median = format_number(statistics.median(rates))
    return f"{len(rates)} workers scored {spread} rows a second each, {median} at the median."


def _draw_speed(workers: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return a plot of the slowest workers; None when fewer than two scored rows."""
    rates = sorted((worker["rows"] / worker["seconds"], worker["worker"]) for worker in workers if worker["seconds"])
    if len(rates) < 2:
        return None
    shown = rates[:MAX_BARS]
    note = "Rows a second by worker" + (f", the {MAX_BARS} slowest of {len(rates)}." if len(rates) > MAX_BARS else ".")
    values, names = [rate for rate, _ in shown], [name for _, name in shown]
    texts = [format_number(rate) for rate in values]
    described = ", ".join(f"{name} {text}" for name, text in zip(names, texts, strict=True))
    return {"title": "Workers", "note": note, "description": described, "svg": draw_bars(names, values, texts)}

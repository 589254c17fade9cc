"""The page about a scored corpus: one HTML file that needs no network; knows aggregates only, no rows and no files."""

import statistics
from typing import Any

from sentiment_ray.inference.drift import MEASURES, chance_of, reading_of, token_bin_of
from sentiment_ray.report.formats import format_number, format_percent
from sentiment_ray.report.page import render_page
from sentiment_ray.report.plots import draw_bars, draw_histogram

TEMPLATE = "score/report.html.j2"
MAX_LINES = 20
"""Longest list on the page; what is left out is counted, and stands in full in the quarantine."""
MAX_BARS = 12
TITLES = {
    "labels": "Labels",
    "confidence": "Confidence",
    "tokens": "Text length",
    "script": "Script",
    "words": "Words",
}
NAMES = {"none": "no letter", "known": "known tokens", "unknown": "unknown tokens"}
"""Bins whose names need their measure to be understood."""


def write_report(report: dict[str, Any]) -> str:
    """Return the page for the aggregates of a scoring run, plots included, as HTML that loads nothing."""
    profile, reference, workers = report["profile"], report["reference"], report["workers"]
    values = {
        "headline": _headline(report),
        "figures": _figures(profile, reference),
        "drift_rows": _drift_rows(profile, reference, report["drift"]),
        "speed": _speed(workers),
        "speed_figure": _speed_figure(workers),
        "max_lines": MAX_LINES,
    }
    return render_page(TEMPLATE, report | values)


def _headline(report: dict[str, Any]) -> str:
    scored = f"{format_number(report['rows_scored'])} rows scored" if report["rows_scored"] else "No rows scored"
    parts = [scored, f"{format_number(report['rows_quarantined'])} set aside"]
    shares = _shares(report["profile"], "labels")
    if shares:
        label = max(shares, key=lambda name: shares[name])
        parts.append(f"{format_percent(shares[label])} {label}")
    return ", ".join(parts)


def _shares(profile: dict[str, Any], measure: str) -> dict[str, float]:
    """Return the share of each bin of a measure, or nothing when the profile has no rows."""
    counts = profile.get(measure, {})
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()} if total else {}


def _drift_rows(profile: dict[str, Any], reference: dict[str, Any], drift: dict[str, float]) -> list[dict[str, Any]]:
    """Return a line for each measure: its index, how it is read, and the bin that changed most."""
    chance = chance_of(reference, profile) if drift else {}
    rows = []
    for measure in (name for name in MEASURES if name in drift):
        before, here = _shares(reference, measure), _shares(profile, measure)
        changes = {name: abs(here.get(name, 0) - before.get(name, 0)) for name in before | here}
        most = "unknown" if measure == "words" else max(changes, key=lambda name: changes[name])
        reading = reading_of(drift[measure])
        if reading != "stable" and drift[measure] <= chance[measure]:
            reading = "too few rows to tell"
        rows.append(
            {
                "title": TITLES[measure],
                "index": drift[measure],
                "reading": reading,
                "most": f"{most} tokens" if measure == "tokens" else NAMES.get(most, most),
                "before": before.get(most, 0),
                "here": here.get(most, 0),
            }
        )
    return rows


def _figures(profile: dict[str, Any], reference: dict[str, Any]) -> list[dict[str, Any]]:
    """Return title, note, description and SVG of a plot for labels, confidence, length and script."""
    if not profile["rows"]:
        return []
    cut = profile["truncated"] / profile["rows"]
    notes = {
        "labels": "rows with each label",
        "confidence": "rows by the probability of their label",
        "tokens": f"rows by number of tokens; {format_percent(cut)} were longer than the model reads, and cut",
        "script": "rows by the writing system of their first letter",
    }
    figures = []
    for measure, note in notes.items():
        here, before = _shares(profile, measure), _shares(reference, measure)
        names = _ordered(measure, here, before)
        values = [here.get(name, 0) for name in names]
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


def _ordered(measure: str, here: dict[str, float], before: dict[str, float]) -> list[str]:
    """Return the bins to draw: labels as they come, scripts by size, numbers from the first that holds a row."""
    names = list(dict.fromkeys([*here, *before]))
    if measure == "labels":
        return names
    filled = [name for name in names if here.get(name) or before.get(name)]
    if measure == "script":
        return sorted(filled, key=lambda name: -here.get(name, 0))[:MAX_BARS]
    if measure == "tokens":
        longest = max(int(name.partition("-")[2]) for name in filled)
        names = [token_bin_of(1 << power) for power in range(2, longest.bit_length())]
    return names[min(names.index(name) for name in filled) :]


def _speed(workers: list[dict[str, Any]]) -> str:
    """Return in a sentence how many rows a second the workers scored."""
    rates = [worker["rows"] / worker["seconds"] for worker in workers if worker["seconds"]]
    if not rates:
        return "No worker has scored a row."
    if len(rates) == 1:
        return f"One worker scored {format_number(rates[0])} rows a second."
    spread = f"from {format_number(min(rates))} to {format_number(max(rates))}"
    median = format_number(statistics.median(rates))
    return f"{len(rates)} workers scored {spread} rows a second each, {median} at the median."


def _speed_figure(workers: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return a plot of the slowest workers; None where there are not two to compare."""
    rates = sorted((worker["rows"] / worker["seconds"], worker["worker"]) for worker in workers if worker["seconds"])
    if len(rates) < 2:
        return None
    shown = rates[:MAX_BARS]
    note = "Rows a second by worker" + (f", the {MAX_BARS} slowest of {len(rates)}." if len(rates) > MAX_BARS else ".")
    values, names = [rate for rate, _ in shown], [name for _, name in shown]
    texts = [format_number(rate) for rate in values]
    described = ", ".join(f"{name} {text}" for name, text in zip(names, texts, strict=True))
    return {"title": "Workers", "note": note, "description": described, "svg": draw_bars(names, values, texts)}

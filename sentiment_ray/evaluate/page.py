"""The page about a bundle's quality: one HTML file that needs no network; knows the report and examples, no rows."""

import math
from typing import Any

from sentiment_ray.report.formats import format_interval, format_measure, format_number, format_percent
from sentiment_ray.report.page import render_page
from sentiment_ray.report.plots import Line, draw_lines

TEMPLATE = "evaluate/report.html.j2"
NUM_SHOWN = 10
"""Examples of a kind on the page; the Parquet files have more."""
FAINTEST_SCALE = 0.05
"""Drop of probability that gets the full shade at least: words that do next to nothing stay pale."""
MEASURES = {
    "accuracy": ("Accuracy", "share of rows with the right label"),
    "macro_f1": ("Macro-F1", "mean of the labels' F1; every label counts the same"),
    "macro_precision": ("Macro precision", "how often an answer is right, mean of the labels"),
    "macro_recall": ("Macro recall", "how often a label is found, mean of the labels"),
    "matthews": ("Matthews", "correlation of labels and answers: 0 by chance, 1 at best"),
    "quadratic_kappa": ("Quadratic kappa", "agreement beyond chance; far misses weigh more"),
    "macro_roc_auc": ("ROC AUC", "chance that a row of a label is ranked above one of the rest, mean of the labels"),
    "macro_average_precision": ("Average precision", "area under precision and recall, mean of the labels"),
    "log_loss": ("Log loss", "in nats, smaller is better; {uniform} for equal probabilities"),
    "brier": ("Brier", "squared error of the probabilities, 0 to 2, smaller is better"),
    "ece": ("ECE", "gap between score and accuracy in {bins} equal bins, smaller is better"),
}


def write_page(report: dict[str, Any], examples: dict[str, Any]) -> str:
    """Return the page for evaluation.json and the examples beside it, plots included, as HTML that loads nothing.

    `examples` holds rows with their texts by kind, `mistakes`, `uncertain`, `attributions` and `flips`; it is empty
    when no text may be shown.
    """
    rows = {kind: examples.get(kind, []) for kind in ("mistakes", "uncertain", "flips")}
    attributions = [_shaded(row) for row in examples.get("attributions", [])]
    values = {
        "headline": _headline(report),
        "measures": _measures(report),
        "by_label": _by_label(report),
        "cells": _cells(report["confusion"]),
        "curve_figures": _curve_figures(report["curves"]),
        "calibration_figure": _calibration_figure(report["calibration"]),
        "risk_figure": _risk_figure(report["abstain"]["risk_coverage"]),
        "slices": _grouped(report["slices"]),
        "examples": rows | {"attributions": attributions},
    }
    return render_page(TEMPLATE, report | values)


def _headline(report: dict[str, Any]) -> str:
    metrics, majority = report["metrics"], report["majority"]
    reviews = f"{format_number(metrics['rows'])} review{'' if metrics['rows'] == 1 else 's'}"
    interval = format_interval(metrics["intervals"]["macro_f1"])
    return (
        f"Macro-F1 {format_measure(metrics['macro_f1'])} ({interval}) on {reviews}; "
        f"{format_percent(metrics['accuracy'])} are right, {format_percent(majority['accuracy'])} if all were called "
        f"{majority['label']}"
    )


def _measures(report: dict[str, Any]) -> list[dict[str, Any]]:
    metrics, known = report["metrics"], {"uniform": format_measure(math.log(len(report["labels"]))), "bins": 15}
    return [
        {
            "title": title,
            "value": metrics[name],
            "interval": metrics["intervals"][name],
            "note": note.format(**known),
        }
        for name, (title, note) in MEASURES.items()
        if name in metrics
    ]


def _by_label(report: dict[str, Any]) -> list[dict[str, Any]]:
    metrics = report["metrics"]
    names = ("precision", "recall", "f1", "roc_auc", "average_precision")
    return [
        {
            "label": label,
            "rows": sum(report["confusion"][place]),
            "values": [(metrics[name][place], metrics["intervals"][name][place]) for name in names],
        }
        for place, label in enumerate(report["labels"])
    ]


def _cells(confusion: list[list[int]]) -> list[list[dict[str, Any]]]:
    """Return the cells of the confusion matrix, each with its share of the rows of its label."""
    return [
        [
            {"rows": rows, "share": rows / max(sum(line), 1), "right": place == across}
            for across, rows in enumerate(line)
        ]
        for place, line in enumerate(confusion)
    ]


def _curve_figures(curves: dict[str, Any]) -> list[dict[str, Any]]:
    if not curves:
        return []
    roc = [
        Line(label, drawn["roc"]["false_positive_rate"], drawn["roc"]["true_positive_rate"])
        for label, drawn in curves.items()
    ]
    precision_recall = [
        Line(label, drawn["precision_recall"]["recall"], drawn["precision_recall"]["precision"])
        for label, drawn in curves.items()
    ]
    names = ", ".join(curves)
    return [
        {
            "title": "ROC.",
            "note": "Each label against the rest; the grey line is chance.",
            "description": f"A line for each of {names}; the areas are in the table above.",
            "svg": draw_lines(
                roc, x_title="share of the rest taken in", y_title="share of the label found", diagonal=True
            ),
        },
        {
            "title": "Precision and recall.",
            "note": "Each label against the rest.",
            "description": f"A line for each of {names}; the areas are in the table above.",
            "svg": draw_lines(precision_recall, x_title="recall", y_title="precision"),
        },
    ]


def _calibration_figure(calibration: dict[str, Any]) -> dict[str, Any] | None:
    if not calibration:
        return None
    bins = calibration["reliability"]
    drawn = [
        Line(
            f"{name} scaling",
            [entry["score"] for entry in bins[name]],
            [entry["accuracy"] for entry in bins[name]],
            True,
        )
        for name in ("before", "after")
    ]
    told = ", ".join(
        f"{entry['score']:.2f} is right in {format_percent(entry['accuracy'])} of {format_number(entry['rows'])}"
        for entry in bins["before"]
    )
    return {
        "title": "Score and accuracy.",
        "note": "On the grey line a score of 0.8 is right in 80 % of the rows; below it the scores promise too much.",
        "description": f"Before scaling: {told}.",
        "svg": draw_lines(drawn, x_title="mean score of a bin", y_title="share right", diagonal=True),
    }


def _risk_figure(curve: dict[str, Any]) -> dict[str, Any]:
    coverage, risk = curve["coverage"], curve["risk"]
    top = max(*risk, 0.05) * 1.1
    told = []
    for share in (0.25, 0.5, 0.75, 1.0):
        nearest = min(range(len(coverage)), key=lambda place: abs(coverage[place] - share))
        told.append(f"{format_percent(coverage[nearest])} answered, {format_percent(risk[nearest])} of them wrong")
    return {
        "title": "Risk and coverage.",
        "note": "Share of wrong answers when only the highest scores are answered, on all rows.",
        "description": "; ".join(dict.fromkeys(told)) + ".",
        "svg": draw_lines([Line("", coverage, risk)], x_title="share of rows answered", y_title="share wrong", top=top),
    }


def _grouped(slices: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for entry in slices:
        grouped.setdefault(entry["by"], []).append(entry)
    return grouped


def _shaded(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with a shade from 0 to 1 for each word, and its three strongest words."""
    strength = max((abs(word["drop"]) for word in row["words"]), default=0.0)
    scale = max(strength, FAINTEST_SCALE)
    words = [word | {"shade": round(abs(word["drop"]) / scale, 2)} for word in row["words"]]
    strongest = sorted(words, key=lambda word: -abs(word["drop"]))[:3]
    return row | {"words": words, "strongest": strongest}

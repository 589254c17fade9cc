"""Writes report.html, the page about the quality of a bundle, from evaluation.json; the page needs no network."""

import math
from typing import Any

from sentiment_ray.report.formats import format_interval, format_measure, format_number, format_percent
from sentiment_ray.report.page import render_page
from sentiment_ray.report.plots import Line, draw_lines

TEMPLATE = "evaluate/report.html.j2"
FAINTEST_SCALE = 0.05
"""Smallest drop of probability that may get the full shade, so that words without effect stay pale."""
MEASURES = {
    "accuracy": ("Accuracy", "share of rows with the right label"),
    "macro_f1": ("Macro-F1", "mean F1 over the labels; every label has the same weight"),
    "macro_precision": ("Macro precision", "share of the predictions of a label that are right, mean over the labels"),
    "macro_recall": ("Macro recall", "share of the rows of a label that are predicted right, mean over the labels"),
    "matthews": ("Matthews", "correlation of labels and predictions: 0 is chance, 1 is perfect"),
    "quadratic_kappa": ("Quadratic kappa", "agreement beyond chance; errors by two steps weigh more"),
    "macro_roc_auc": ("ROC AUC", "probability that a row of a label ranks above another row, mean over the labels"),
    "macro_average_precision": ("Average precision", "area under the precision-recall curve, mean over the labels"),
    "log_loss": ("Log loss", "in nats, smaller is better; equal probabilities have {uniform}"),
    "brier": ("Brier", "squared error of the probabilities, 0 to 2, smaller is better"),
    "ece": ("ECE", "mean gap between score and accuracy in {bins} bins of equal width, smaller is better"),
}


def write_page(report: dict[str, Any], examples: dict[str, Any]) -> str:
    """Return the page for the report in evaluation.json as HTML, plots included, that loads nothing.

    `examples` has rows with texts under `mistakes`, `uncertain`, `attributions` and `flips`; it is empty when no texts
    may be shown.
    """
    rows = {kind: examples.get(kind, []) for kind in ("mistakes", "uncertain", "flips")}
    attributions = [_shade_words(row) for row in examples.get("attributions", [])]
    values = {
        "headline": _write_headline(report),
        "measures": _make_measure_rows(report),
        "by_label": _make_label_rows(report),
        "cells": _make_cells(report["confusion"]),
        "curve_figures": _draw_curves(report["curves"]),
        "calibration_figure": _draw_calibration(report["calibration"]),
        "risk_figure": _draw_risk(report["abstain"]["risk_coverage"]),
        "slices": _group_slices(report["slices"]),
        "examples": rows | {"attributions": attributions},
    }
    return render_page(TEMPLATE, report | values)


def _write_headline(report: dict[str, Any]) -> str:
    metrics, majority = report["metrics"], report["majority"]
    interval = format_interval(metrics["intervals"]["macro_f1"])
    reviews = f"{format_number(metrics['rows'])} review{'' if metrics['rows'] == 1 else 's'}"
    return (
        f"Macro-F1 {format_measure(metrics['macro_f1'])} ({interval}) on {reviews}; "
        f"{format_percent(metrics['accuracy'])} are right; always predicting {majority['label']} would be right for "
        f"{format_percent(majority['accuracy'])}"
    )


def _make_measure_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    metrics, values = report["metrics"], {"uniform": format_measure(math.log(len(report["labels"]))), "bins": 15}
    return [
        {
            "title": title,
            "value": metrics[name],
            "interval": metrics["intervals"][name],
            "note": note.format(**values),
        }
        for name, (title, note) in MEASURES.items()
        if name in metrics
    ]


def _make_label_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    metrics = report["metrics"]
    names = ("precision", "recall", "f1", "roc_auc", "average_precision")
    return [
        {
            "label": label,
            "rows": sum(report["confusion"][index]),
            "values": [(metrics[name][index], metrics["intervals"][name][index]) for name in names],
        }
        for index, label in enumerate(report["labels"])
    ]


def _make_cells(confusion: list[list[int]]) -> list[list[dict[str, Any]]]:
    """Return the cells of the confusion matrix, each with its share of the rows of the label."""
    return [
        [
            {"rows": rows, "share": rows / max(sum(line), 1), "right": label_id == predicted_id}
            for predicted_id, rows in enumerate(line)
        ]
        for label_id, line in enumerate(confusion)
    ]


def _draw_curves(curves: dict[str, Any]) -> list[dict[str, Any]]:
    if not curves:
        return []
    roc = [
        Line(label, curve["roc"]["false_positive_rate"], curve["roc"]["true_positive_rate"])
        for label, curve in curves.items()
    ]
    precision_recall = [
        Line(label, curve["precision_recall"]["recall"], curve["precision_recall"]["precision"])
        for label, curve in curves.items()
    ]
    names = ", ".join(curves)
    return [
        {
            "title": "ROC.",
            "note": "Each label against the rest; the grey line is chance.",
            "description": f"A line for each of {names}; the areas are in the table above.",
            "svg": draw_lines(roc, x_title="false positive rate", y_title="true positive rate", diagonal=True),
        },
        {
            "title": "Precision and recall.",
            "note": "Each label against the rest.",
            "description": f"A line for each of {names}; the areas are in the table above.",
            "svg": draw_lines(precision_recall, x_title="recall", y_title="precision"),
        },
    ]


def _draw_calibration(calibration: dict[str, Any]) -> dict[str, Any] | None:
    if not calibration:
        return None
    bins = calibration["reliability"]
    reliability_lines = [
        Line(
            f"{name} scaling",
            [entry["score"] for entry in bins[name]],
            [entry["accuracy"] for entry in bins[name]],
            True,
        )
        for name in ("before", "after")
    ]
    described = ", ".join(
        f"{entry['score']:.2f} is right in {format_percent(entry['accuracy'])} of {format_number(entry['rows'])} rows"
        for entry in bins["before"]
    )
    return {
        "title": "Score and accuracy.",
        "note": "On the grey line a score of 0.8 is right in 80 % of the rows; below the line scores are too high.",
        "description": f"Before scaling: {described}.",
        "svg": draw_lines(reliability_lines, x_title="mean score of a bin", y_title="share right", diagonal=True),
    }


def _draw_risk(curve: dict[str, Any]) -> dict[str, Any]:
    coverage, risk = curve["coverage"], curve["risk"]
    top = max(*risk, 0.05) * 1.1
    described = []
    for share in (0.25, 0.5, 0.75, 1.0):
        nearest = min(range(len(coverage)), key=lambda index: abs(coverage[index] - share))
        described.append(
            f"{format_percent(coverage[nearest])} predicted, {format_percent(risk[nearest])} of them wrong"
        )
    return {
        "title": "Risk and coverage.",
        "note": "Share of wrong predictions when only the rows with the highest scores are predicted.",
        "description": "; ".join(dict.fromkeys(described)) + ".",
        "svg": draw_lines(
            [Line("", coverage, risk)], x_title="share of rows predicted", y_title="share wrong", top=top
        ),
    }


def _group_slices(slices: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for entry in slices:
        grouped.setdefault(entry["by"], []).append(entry)
    return grouped


def _shade_words(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with a shade from 0 to 1 for each word, and the three words with the largest effect."""
    strength = max((abs(word["drop"]) for word in row["words"]), default=0.0)
    scale = max(strength, FAINTEST_SCALE)
    words = [word | {"shade": round(abs(word["drop"]) / scale, 2)} for word in row["words"]]
    strongest = sorted(words, key=lambda word: -abs(word["drop"]))[:3]
    return row | {"words": words, "strongest": strongest}

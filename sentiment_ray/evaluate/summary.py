"""Prints the summary at the end of a pipeline from the files of its stages; measures nothing itself."""

import json
from pathlib import Path
from typing import Any

from sentiment_ray import log
from sentiment_ray.bundle.open import Bundle, open_bundle
from sentiment_ray.inference.predictor import Predictor

MESSAGES = {
    "Remember that each day is a new opportunity to embrace the beauty of life.": "positive",
    "I have to be honest, I'm just not enjoying this movie.": "negative",
    "This is a cherry pie.": "neutral",
}
"""Messages from well-known tutorials, and the label that a person gives them."""


def print_summary(results: dict[str, dict[str, Any]]) -> None:
    """Write quality, variants and three messages to stderr, for the stages that the pipeline ran."""
    if "evaluate" in results:
        _print_quality(Path(results["evaluate"]["output"]))
    if "export" in results:
        path = Path(results["export"]["output"])
        _print_variants(open_bundle(path))
        _print_messages(Predictor.load(path))


def _print_quality(evaluation: Path) -> None:
    report = json.loads((evaluation / "evaluation.json").read_text())
    _say(f"\n{'':<42}{'accuracy':>9}{'macro-F1':>10}{'rows':>8}")
    lines = {f"always {report['majority']['label']}": report["majority"]}
    if report["base_model"]:
        lines[f"base model ({report['base_model']['method']})"] = report["base_model"]
    lines["fine-tuned, from the bundle"] = report["metrics"]
    for name, metrics in lines.items():
        _say(f"{name:<42}{metrics['accuracy']:>9.3f}{metrics['macro_f1']:>10.3f}{metrics['rows']:>8,}")


def _print_variants(bundle: Bundle) -> None:
    manifest = bundle.manifest
    _say(f"\n{'variant':<14}{'engine':<13}{'MB':>5}{'rows/s':>8}{'agrees with torch':>19}")
    for name, variant in manifest.variants.items():
        for engine, gate in variant.gate.items():
            chosen = (
                "  <- auto"
                if (engine, name) == (manifest.defaults["cpu"].engine, manifest.defaults["cpu"].variant)
                else ""
            )
            passed = f"{100 * gate['label_agreement']:.1f} %" if gate["passed"] else "missed its gate"
            megabytes = manifest.files[variant.file].bytes / 1e6
            rate = variant.bench[engine]["rows_per_s"]
            _say(f"{name:<14}{engine:<13}{megabytes:>5.0f}{rate:>8,.0f}{passed:>19}{chosen}")


def _print_messages(predictor: Predictor) -> None:
    _say("")
    for (text, expected), answer in zip(MESSAGES.items(), predictor.predict(list(MESSAGES)), strict=True):
        wrong = (
            f"  (a person would say {expected})" if expected in predictor.labels and expected != answer.label else ""
        )
        _say(f"{answer.label:<9}{answer.score:.2f}  {text}{wrong}")


def _say(line: str) -> None:
    log.notify(line)

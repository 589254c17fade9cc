"""Says in plain sentences what someone should know about a bundle; stderr and the model card show them.

Each function takes an Exported and returns one sentence, or None where there is nothing to say. A new sentence is one
function and one entry in WARNINGS or FACTS.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sentiment_ray import log
from sentiment_ray.bundle.manifest import Manifest, Variant


@dataclass(frozen=True)
class Exported:
    """The parts of bundle.json that the sentences are about."""

    variants: Mapping[str, Variant]
    training: Mapping[str, Any]
    evaluation: Mapping[str, Any]


def show_closing(manifest: Manifest) -> None:
    """Show the sentences about a bundle on stderr, warnings first."""
    exported = Exported(manifest.variants, manifest.training, manifest.evaluation)
    for functions, level in ((WARNINGS, logging.WARNING), (FACTS, logging.INFO)):
        for sentence in filter(None, (describe(exported) for describe in functions)):
            log.notify(sentence, level=level)


def list_sentences(exported: Exported) -> list[str]:
    """Return the sentences about a bundle, warnings first."""
    return [sentence for sentence in (describe(exported) for describe in (*WARNINGS, *FACTS)) if sentence]


def describe_left_out(exported: Exported) -> str | None:
    """Name the variants that no engine may run, each with the bounds that it missed and the figures."""
    left_out = exported.evaluation.get("left_out", {})
    reasons = [f"{name} ({_join_misses(gates)})" for name, gates in left_out.items()]
    return f"Left out of the bundle, because the gate was missed: {', '.join(reasons)}." if reasons else None


def describe_missed_engines(exported: Exported) -> str | None:
    """Name the variants that only some engines may run, with what the other engines missed."""
    missed = {
        name: {engine: gate for engine, gate in variant.gate.items() if not gate["passed"]}
        for name, variant in exported.variants.items()
    }
    reasons = [f"{name} ({_join_misses(gates)})" for name, gates in missed.items() if gates]
    return f"Not for every engine, because the gate was missed: {', '.join(reasons)}." if reasons else None


def describe_not_measured(exported: Exported) -> str | None:
    """Name the figures that the reviews or the suite cannot tell; every gate lists the same."""
    gates = [gate for variant in exported.variants.values() for gate in variant.gate.values()]
    lines: list[str] = next((gate["not_measured"] for gate in gates if gate.get("not_measured")), [])
    return f"The gate could not measure {'; '.join(lines)}." if lines else None


def describe_other_checkpoint(exported: Exported) -> str | None:
    """Say that the bundle is not of the best checkpoint of its run."""
    checkpoint = exported.training.get("best", {})
    if exported.training.get("is_best", True):
        return None
    return (
        f"The bundle is of {checkpoint['checkpoint']} (macro-F1 {checkpoint['metrics']['macro_f1']:.3f}), which is not "
        "the best checkpoint of the run."
    )


def describe_calibration(exported: Exported) -> str | None:
    """Say which temperature was fitted on how many rows, or why it is 1."""
    calibration = exported.evaluation.get("calibration")
    if not calibration:
        return None
    reason = calibration["reason"]
    if reason:
        return f"The temperature is 1, so the probabilities are not calibrated: {reason}."
    return f"The temperature {calibration['temperature']:g} was fitted on {calibration['rows']:,} validation rows."


def describe_static_calibration(exported: Exported) -> str | None:
    """Say where int8_static was calibrated on few rows, or on those of its gate."""
    calibration = exported.evaluation.get("static_calibration")
    if not calibration or not calibration["reason"]:
        return None
    return (
        f"int8_static measured its activations on {calibration['rows']:,} {calibration['split']} rows: "
        f"{calibration['reason']}."
    )


def _join_misses(gates: Mapping[str, Mapping[str, Any]]) -> str:
    return "; ".join(f"with {engine} {', '.join(gate['missed'])}" for engine, gate in gates.items())


WARNINGS = (
    describe_left_out,
    describe_missed_engines,
    describe_other_checkpoint,
    describe_not_measured,
    describe_static_calibration,
)
FACTS = (describe_calibration,)

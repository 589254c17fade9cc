"""Writes the ONNX files of a bundle, compares each with torch, and removes those that miss their gate.

Knows no manifest and no run.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.benchmark import BENCH_TEXTS, Pair, measure_rate
from export.config import ExportConfig
from export.exported_model import ExportedModel
from export.gate import GateResult, check
from export.held_out import HeldOut
from export.variants import VARIANTS, Source
from sentiment_ray.bundle.manifest import Variant
from sentiment_ray.engine_specs import installed_engines
from sentiment_ray.errors import GateError
from sentiment_ray.inference.engines import load_engine
from sentiment_ray.text.encoding import TextEncoder


@dataclass
class Measured:
    """What each pair of variant and engine gave: the result of its gate, and texts per second."""

    results: dict[Pair, GateResult] = field(default_factory=dict)
    rates: dict[Pair, float] = field(default_factory=dict)

    def passed(self) -> dict[Pair, float]:
        """Return the rates of the pairs that passed."""
        return {pair: rate for pair, rate in self.rates.items() if self.results[pair].gate["passed"]}


def write_and_check(
    config: ExportConfig,
    model: ExportedModel,
    directory: Path,
    encoder: TextEncoder,
    held_out: HeldOut,
    bar: Any,
) -> Measured:
    """Write the configured ONNX files and compare each, with every engine, with torch."""
    measured = Measured()
    with tempfile.TemporaryDirectory() as temporary:
        source = Source(
            Path(temporary, "model.onnx"),
            Path(temporary, "checkpoint"),
            encoder,
            held_out.static_calibration.texts if held_out.static_calibration else [],
        )
        model.write_graph(source, held_out)
        bar.update()
        for name in config.variants:
            file = directory / VARIANTS[name].file
            VARIANTS[name].write(source, file)
            for kind in installed_engines():
                engine = load_engine(kind, file.read_bytes(), threads=config.threads, source=file)
                measured.results[name, kind] = check(engine, encoder, held_out, model.labels, config)
                measured.rates[name, kind] = measure_rate(engine, encoder, held_out.texts[:BENCH_TEXTS])
            bar.update()
    return measured


def remove_missed(config: ExportConfig, measured: Measured, directory: Path) -> dict[str, dict[str, Any]]:
    """Remove the files that passed with no engine and return their gates. GateError if the required file is one."""
    kept = {name for name, _ in measured.passed()}
    missed: dict[str, dict[str, Any]] = {}
    for (name, kind), result in measured.results.items():
        if name not in kept:
            missed.setdefault(name, {})[kind] = result.gate
    if config.required in missed:
        reasons = "; ".join(
            f"with {kind} {', '.join(gate['missed'])}" for kind, gate in missed[config.required].items()
        )
        raise GateError(
            f"The required variant {config.required!r} missed its gate, so there is no bundle: {reasons}. "
            "The bounds are keys of [export]."
        )
    for name in missed:
        (directory / VARIANTS[name].file).unlink()
    return missed


def describe_variants(
    measured: Measured, bench: dict[Pair, dict[str, Any]], config: ExportConfig
) -> dict[str, Variant]:
    """Return the manifest's entries for the files that passed with at least one engine."""
    variants = {}
    for name in dict.fromkeys(name for name, _ in measured.passed()):
        kinds = [kind for other, kind in measured.results if other == name]
        once = {kind: {"rows_per_s": round(measured.rates[name, kind], 1), "rounds": 1} for kind in kinds}
        variants[name] = Variant(
            file=VARIANTS[name].file,
            precision=VARIANTS[name].precision,
            gate={kind: measured.results[name, kind].gate for kind in kinds},
            bench={kind: bench.get((name, kind), once[kind]) | {"threads": config.threads} for kind in kinds},
        )
    return variants

"""Builds _report.json: the counts, text profile, drift and speed of a finished run; writes nothing."""

import time
from dataclasses import asdict, dataclass
from typing import Any

from sentiment_ray.engine_specs import engine_packages
from sentiment_ray.inference.drift import compute_drift
from sentiment_ray.inference.predictor import PackedBundle
from sentiment_ray.score.commit import RunResults
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.versions import installed_versions


@dataclass(frozen=True)
class RunInputs:
    """What a run was started with."""

    config: ScoreConfig
    bundle: PackedBundle
    started_at: float
    """Seconds since 1970."""


def build_report(inputs: RunInputs, results: RunResults) -> dict[str, Any]:
    """Return the report of a run as JSON."""
    config, bundle, totals = inputs.config, inputs.bundle, results.totals
    reference = bundle.manifest.reference
    finished_at = time.time()
    return asdict(results.counts) | {
        "output": config.output,
        "bundle": config.bundle,
        "bundle_id": bundle.manifest.bundle_id,
        "engine": bundle.engine,
        "variant": bundle.variant,
        "started_at": _format_time(inputs.started_at),
        "finished_at": _format_time(finished_at),
        "elapsed_s": finished_at - inputs.started_at,
        "files": results.plan.identity.num_files,
        "left_out_files": results.plan.left_out_files,
        "parts": totals.parts,
        "bytes_out": totals.bytes,
        "profile": totals.profile,
        "reference": reference,
        "drift": compute_drift(reference, totals.profile) if reference and totals.profile["rows"] else {},
        "workers": [{"worker": name} | asdict(totals.workers[name]) for name in sorted(totals.workers)],
        "crashes": totals.crashes,
        "duplicates": totals.duplicates,
        "versions": installed_versions("ray", "pyarrow", *engine_packages()),
    }


def _format_time(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time_s))

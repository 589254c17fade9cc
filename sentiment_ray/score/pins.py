"""What a run pins beside its bundle and its input: versions and precision, on which the bytes of the scores depend."""

import socket
from dataclasses import dataclass, fields
from typing import Any

import ray

from sentiment_ray.engine_specs import ENGINES, engine_packages
from sentiment_ray.inference.hardware import read_processor
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.versions import installed_versions

BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
"""Instruction sets with which OpenVINO computes in bf16, the one that it prefers first."""


@dataclass(frozen=True)
class Pins:
    """Versions and precision of one machine; the fields are the keys of the plan's file."""

    engine: str
    """Version of the engine's library."""
    tokenizers: str
    pyarrow: str
    precision: str
    """What the engine computes in, and with which instructions where that changes the bits."""

    def describe_difference(self, other: "Pins") -> str | None:
        """Return in words the first difference from the pins of another machine or time; None if there is none."""
        names = {"engine": "the engine's version", "precision": "the engine's precision"}
        for field in fields(self):
            mine, its = getattr(self, field.name), getattr(other, field.name)
            if mine != its:
                return f"{names.get(field.name, field.name)} was {mine!r} and is {its!r} on {socket.gethostname()}"
        return None


def read_pins(engine: str) -> Pins:
    """Return the versions and the precision of this machine for an engine."""
    versions = installed_versions("tokenizers", "pyarrow", *engine_packages())
    library = next((versions[package] for package in ENGINES[engine].packages if package in versions), "")
    return Pins(library, versions.get("tokenizers", ""), versions.get("pyarrow", ""), _find_precision(engine))


def measure_pins(config: ScoreConfig, engine: str) -> Pins:
    """Return the pins of a node that can hold a worker; the driver's own machine may be of another kind."""
    num_gpus = 1 if ENGINES[engine].is_gpu else 0
    task = ray.remote(num_cpus=config.cpus_per_worker, num_gpus=num_gpus)(read_pins)
    return ray.get(task.remote(engine))


def parse_pins(values: dict[str, Any] | None) -> Pins | None:
    """Return the pins that a plan names; None for a plan of an earlier release, which names none."""
    return Pins(**values) if values else None


def _find_precision(engine: str) -> str:
    if engine != "openvino":
        return "as the variant's file says"
    available = read_processor().instruction_sets
    instructions = next((name for name in BF16_INSTRUCTIONS if name in available), None)
    return f"bf16 with {instructions}" if instructions else "fp32"

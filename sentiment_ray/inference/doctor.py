"""Reports what this machine has for scoring, and which file of a bundle it would load; changes nothing."""

import importlib
import os
import platform
import time
from pathlib import Path
from typing import Any

from sentiment_ray.bundle.open import Bundle
from sentiment_ray.cpu_quota import count_usable_cpus, read_cpu_quota
from sentiment_ray.engine_specs import ENGINES, cpu_engines
from sentiment_ray.errors import SentimentRayError
from sentiment_ray.inference.choice import rank_choices
from sentiment_ray.inference.predictor import Predictor

FLAGS = {
    "avx2": "avx2",
    "avx512": "avx512f",
    "avx512_bf16": "avx512_bf16",
    "vnni": "avx512_vnni",
    "amx_bf16": "amx_bf16",
    "amx_int8": "amx_int8",
}
"""Instruction sets that engines use, and the flags of Linux for them."""


def examine() -> dict[str, Any]:
    """Return the processor, cores, memory and engines of this machine, and hints on what is missing.

    `cpu_quota` is what the container may use of the cores, None without a limit; `threads` are those of an engine.
    """
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    lines = dict(line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line)
    lines = {name.strip(): value.strip() for name, value in lines.items()}
    flags = set(lines.get("flags", "").split())
    engines = {name: _describe_engine(name) for name in cpu_engines()}
    return {
        "processor": lines.get("model name", platform.processor() or platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "cpu_quota": read_cpu_quota(),
        "threads": count_usable_cpus(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "has": {name: flag in flags for name, flag in FLAGS.items()},
        "engines": engines,
        "hints": _hints(engines, flags),
    }


def diagnose(bundle: Bundle, *, require_signature: str | None = None) -> dict[str, Any]:
    """Return the engines and files of a bundle in the order in which `auto` tries them, and how each did here."""
    tried: list[dict[str, Any]] = []
    picked = None
    for engine, variant in rank_choices(bundle, "auto", "auto"):
        started = time.perf_counter()
        try:
            Predictor.load(bundle.path, engine=engine, variant=variant, require_signature=require_signature)
            note = "its self-test passed here" if bundle.manifest.self_test else "loads; the bundle has no self-test"
        except SentimentRayError as error:
            note = str(error)
        else:
            picked = picked or {"engine": engine, "variant": variant}
        rate = bundle.manifest.variants[variant].bench[engine]["rows_per_s"]
        tried.append(
            {
                "engine": engine,
                "variant": variant,
                "rows_per_s_at_export": rate,
                "load_s": round(time.perf_counter() - started, 3),
                "note": note,
            }
        )
    seen = {(row["engine"], row["variant"]) for row in tried}
    not_tried = [
        {"engine": engine, "variant": name, "note": _why_not(gate)}
        for name, variant in bundle.manifest.variants.items()
        for engine, gate in variant.gate.items()
        if (engine, name) not in seen
    ]
    return {"auto": picked, "tried": tried, "not_tried": not_tried}


def _describe_engine(name: str) -> dict[str, Any]:
    spec = ENGINES[name]
    if not spec.is_installed():
        return {"installed": False}
    details = importlib.import_module(spec.module).describe_library()
    return {"installed": True, "version": spec.installed_version() or "?", **details}


def _hints(engines: dict[str, dict[str, Any]], flags: set[str]) -> list[str]:
    hints = [
        f"{name} is not installed. {ENGINES[name].remedy}"
        for name, engine in engines.items()
        if not engine["installed"]
    ]
    if flags and "avx512_vnni" not in flags and "avx_vnni" not in flags:
        hints.append("no VNNI: int8 files are slow here, and their answers differ from those with VNNI")
    if flags and not {"amx_bf16", "avx512_bf16"} & flags:
        hints.append("no bf16 units: OpenVINO computes in fp32 here")
    return hints


def _why_not(gate: dict[str, Any]) -> str:
    if not gate.get("passed"):
        return "missed its gate: " + "; ".join(gate.get("missed", ["see inspect"]))
    return "not installed here"

"""Reports what this machine has for scoring, and which file of a bundle it would load; changes nothing."""

import importlib
import os
import time
from collections.abc import Iterator
from typing import Any

from sentiment_ray.bundle.open import Bundle
from sentiment_ray.cpu_quota import count_usable_cpus, read_cpu_quota
from sentiment_ray.engine_specs import ENGINES, cpu_engines, list_gpu_engines
from sentiment_ray.errors import SentimentRayError
from sentiment_ray.inference.choice import Pair
from sentiment_ray.inference.engines import explain_unusable
from sentiment_ray.inference.hardware import FLAGS, list_gpus, read_processor
from sentiment_ray.inference.predictor import Predictor, choose


def examine() -> dict[str, Any]:
    """Return the processor, cores, memory, GPUs and engines of this machine, and hints on what is missing.

    `cpu_quota` is what the container may use of the cores, None without a limit; `threads` are those of an engine.
    """
    processor = read_processor()
    engines = {name: _describe_engine(name) for name in cpu_engines()}
    return {
        "processor": processor.name,
        "cores": len(os.sched_getaffinity(0)),
        "cpu_quota": read_cpu_quota(),
        "threads": count_usable_cpus(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "has": {name: flag in processor.flags for name, flag in FLAGS.items()},
        "engines": engines,
        "gpus": list(list_gpus()),
        "engines_on_gpu": {name: _describe_gpu_engine(name) for name in list_gpu_engines()},
        "hints": _hints(engines, processor.flags),
    }


def diagnose(bundle: Bundle, *, require_signature: str | None = None) -> dict[str, Any]:
    """Return the engines and files of a bundle in the order in which `auto` tries them, and how each did here.

    Where a GPU can be used, `race` has the texts per second that `auto` compares.
    """
    tried: list[dict[str, Any]] = []
    picked = None
    ranking = choose(bundle, "auto", "auto")
    for engine, variant in ranking.pairs:
        started = time.perf_counter()
        try:
            Predictor.load(bundle.path, engine=engine, variant=variant, require_signature=require_signature)
            note = "its self-test passed here" if bundle.manifest.self_test else "loads; the bundle has no self-test"
        except SentimentRayError as error:
            note = str(error)
        else:
            picked = picked or {"engine": engine, "variant": variant}
        rate = bundle.manifest.variants[variant].bench.get(engine, {}).get("rows_per_s")
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
    race = [
        {"engine": engine, "variant": variant, "rows_per_s_here": round(rate, 1)}
        for (engine, variant), rate in ranking.race.rates.items()
    ]
    race += [
        {"engine": engine, "variant": variant, "note": reason}
        for (engine, variant), reason in ranking.race.refused.items()
    ]
    return {"auto": picked, "tried": tried, "race": race, "not_tried": list(_list_not_tried(bundle, seen))}


def _list_not_tried(bundle: Bundle, seen: set[Pair]) -> Iterator[dict[str, str]]:
    """Yield the pairs that missed a gate or lack their engine, and the engines on a GPU that `auto` does not take."""
    for name, variant in bundle.manifest.variants.items():
        for engine, gate in variant.gate.items():
            if (engine, name) not in seen:
                yield {"engine": engine, "variant": name, "note": _why_not(gate)}
    for engine in list_gpu_engines():
        reason = explain_unusable(engine) or ENGINES[engine].never_auto
        if reason:
            yield {"engine": engine, "note": reason}


def _describe_gpu_engine(name: str) -> dict[str, Any]:
    reason = explain_unusable(name)
    if reason:
        return {"usable": False, "note": reason}
    note = ENGINES[name].never_auto
    taken = f"auto never takes it, because {note}" if note else "auto takes it where it wins a race"
    return {"usable": True, "version": ENGINES[name].installed_version() or "?", "note": taken}


def _describe_engine(name: str) -> dict[str, Any]:
    spec = ENGINES[name]
    if not spec.is_installed():
        return {"installed": False}
    details = importlib.import_module(spec.module).describe_library()
    return {"installed": True, "version": spec.installed_version() or "?", **details}


def _hints(engines: dict[str, dict[str, Any]], flags: frozenset[str]) -> list[str]:
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

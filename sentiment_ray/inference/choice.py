"""Ranks the engines and variants of a bundle that may answer, by gate and speed; loads no model."""

from collections.abc import Iterable

from sentiment_ray.bundle.manifest import Variant
from sentiment_ray.bundle.open import Bundle
from sentiment_ray.engine_specs import ENGINES, installed_engines
from sentiment_ray.errors import BundleError, ConfigError

Pair = tuple[str, str]
"""Names of an engine and a variant."""
GPU_PRECISIONS = ("fp32", "fp16")
"""Precisions of the files that take part in a race on a GPU, the most exact first. GPUs here run no int8 file fast."""


def rank_choices(bundle: Bundle, engine: str, variant: str) -> list[Pair]:
    """Return the pairs of engine and variant that may be loaded, best first: the default, then by speed at the export.

    `auto` leaves a side open, and means the engines on the CPU: `list_gpu_choices` has those on a GPU. A GPU engine
    that is named runs the files that passed their gate with ONNX Runtime on the CPU, fp16 first; the bundle's self-test
    then compares the GPU's answers with torch's. ConfigError for an unknown name, BundleError where nothing has passed
    a gate.
    """
    variants = bundle.manifest.variants
    if engine not in ("auto", *ENGINES):
        raise ConfigError(f"engine = {engine!r} is unknown. Known: auto, {', '.join(ENGINES)}.")
    if variant != "auto" and variant not in variants:
        raise ConfigError(f"variant = {variant!r} is not in {bundle.path} (found: {', '.join(variants)}).")
    engine_names = installed_engines() if engine == "auto" else [engine]
    variant_names = list(variants) if variant == "auto" else [variant]
    passed = [(name, each) for name in engine_names for each in variant_names if has_passed(variants[each], name)]
    if not passed:
        raise BundleError(f"{bundle.path}: {_explain_refusal(bundle, engine, variant)}")
    default = bundle.manifest.defaults["cpu"]

    def rate(pair: Pair) -> tuple[bool, float]:
        engine_name, variant_name = pair
        spec = ENGINES[engine_name]
        if spec.is_gpu:
            return variant_name == "fp16", 0.0
        rows_per_s = variants[variant_name].bench[spec.gate_engine]["rows_per_s"]
        return pair == (default.engine, default.variant), rows_per_s

    return sorted(passed, key=rate, reverse=True)


def list_gpu_choices(bundle: Bundle, variant: str, engines: Iterable[str]) -> list[Pair]:
    """Return what `engines` on a GPU may run of a bundle in a race: one file of each precision, the most exact first.

    Each has passed the gate that counts for the engine. A variant that is named is the only one.
    """
    variants = bundle.manifest.variants
    choices: list[Pair] = []
    for name in engines:
        passed = [each for each in variants if variant in ("auto", each) and has_passed(variants[each], name)]
        if variant != "auto":
            choices += [(name, each) for each in passed]
            continue
        for precision in GPU_PRECISIONS:
            choices += [(name, each) for each in passed if variants[each].precision == precision][:1]
    return choices


def has_passed(variant: Variant, engine: str) -> bool:
    """Whether the gate that counts for an engine let a variant pass."""
    return bool(variant.gate.get(ENGINES[engine].gate_engine, {}).get("passed"))


def _explain_refusal(bundle: Bundle, engine: str, variant: str) -> str:
    """Return why no pair of an engine and a variant may be loaded, and what to do."""
    tried = {name for each in bundle.manifest.variants.values() for name in each.gate}
    if engine != "auto" and ENGINES[engine].gate_engine not in tried:
        return f"it was exported without engine {engine!r}. Export it again where {engine} is installed, or use auto."
    return (
        f"variant {variant!r} has passed no gate with engine {engine!r} "
        f"(installed: {', '.join(installed_engines()) or 'none'}). "
        "Use auto for both, or pip install 'sentiment-ray[cpu]'."
    )

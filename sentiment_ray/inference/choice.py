"""Which engine and which file of a bundle answer; knows gates and speeds, loads neither."""

from sentiment_ray.bundle.manifest import Variant
from sentiment_ray.bundle.open import Bundle
from sentiment_ray.errors import BundleError, ConfigError
from sentiment_ray.inference.engines import ENGINES, GPU_ENGINES, available_engines


def choices_of(bundle: Bundle, engine: str, variant: str) -> list[tuple[str, str]]:
    """Return the engines and variants that may be loaded, the best first: the default, then by speed at the export.

    A GPU is taken when it is asked for by name, with the files that passed their gate with ONNX Runtime on the CPU: the
    bundle's self-test then compares the GPU's answers with torch's. Its `auto` variant is fp16.
    """
    variants = bundle.manifest.variants
    if engine not in ("auto", *ENGINES):
        raise ConfigError(f"engine = {engine!r} is unknown. Known: auto, {', '.join(ENGINES)}.")
    if variant != "auto" and variant not in variants:
        raise ConfigError(f"variant = {variant!r} is not in {bundle.path} (found: {', '.join(variants)}).")
    engines = available_engines() if engine == "auto" else [engine]
    names = list(variants) if variant == "auto" else [variant]
    passed = [(kind, name) for kind in engines for name in names if _has_passed(variants[name], kind)]
    if not passed:
        raise BundleError(
            f"{bundle.path}: variant {variant!r} has passed no gate with engine {engine!r} "
            f"(installed: {', '.join(available_engines()) or 'none'}). "
            "Use auto for both, or pip install 'sentiment-ray[cpu]'."
        )
    default = bundle.manifest.defaults["cpu"]

    def merit(pair: tuple[str, str]) -> tuple[bool, float]:
        kind, name = pair
        if kind in GPU_ENGINES:
            return name == "fp16", 0.0
        return pair == (default.engine, default.variant), variants[name].bench[kind]["rows_per_s"]

    return sorted(passed, key=merit, reverse=True)


def _has_passed(variant: Variant, engine: str) -> bool:
    return bool(variant.gate.get(gated_as(engine), {}).get("passed"))


def gated_as(engine: str) -> str:
    """Return the engine whose gate counts for an engine: a GPU's files are those of ONNX Runtime on the CPU."""
    return "onnxruntime" if engine in GPU_ENGINES else engine

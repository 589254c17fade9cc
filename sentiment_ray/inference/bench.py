"""Measures how fast this machine runs each file of a bundle, and what its matrix units could do."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.bundle.open import Bundle
from sentiment_ray.engine_specs import ENGINES, installed_engines, list_gpu_engines
from sentiment_ray.inference.choice import has_passed
from sentiment_ray.inference.engines import Engine, explain_unusable, load_engine
from sentiment_ray.inference.short_trial import read_suite_tokens
from sentiment_ray.text.encoding import parse_encoder

SIZE_KEYS = {
    "width": ("hidden_size", "dim"),
    "feed_forward": ("intermediate_size", "hidden_dim"),
    "layers": ("num_hidden_layers", "n_layers"),
}
"""Keys of config.json by size; DistilBERT has other names than BERT."""
PEAK_TOKENS = 2048
PEAK_S = 1.0
"""Seconds in which the peak is measured."""


@dataclass(frozen=True)
class Shape:
    """Sizes of an encoder: its width, the width of its feed-forward layers, and its number of layers."""

    width: int
    feed_forward: int
    layers: int

    def count_flops(self, num_tokens: int) -> float:
        """Return the floating-point operations of one forward pass: matrix products and attention."""
        products = 2 * self.layers * (4 * self.width**2 + 2 * self.width * self.feed_forward)
        return num_tokens * (products + 4 * self.layers * num_tokens * self.width)


def read_shape(bundle: Bundle) -> Shape | None:
    """Return the sizes in a bundle's config.json, or None where its keys are not known."""
    config = json.loads((bundle.path / "config.json").read_text(encoding="utf-8"))
    values = {size: next((config[key] for key in keys if key in config), None) for size, keys in SIZE_KEYS.items()}
    sizes = {size: value for size, value in values.items() if isinstance(value, int)}
    return Shape(**sizes) if len(sizes) == len(SIZE_KEYS) else None


def measure_bundle(
    bundle: Bundle, *, batches: tuple[int, ...], lengths: tuple[int, ...], threads: tuple[int, ...], seconds: float
) -> Iterator[dict[str, Any]]:
    """Yield a result for each variant, engine, batch size, length in tokens and number of threads.

    Variants that an engine did not pass the gate with are left out, and so are GPUs that cannot be used here. A batch
    holds tokens of real sentences, in rows of one length. `share_of_peak` is the rate of operations divided by the best
    rate of matrix products with as many threads of the CPU; a GPU has none. It counts all operations of the encoder,
    even those that the file leaves out.
    """
    source = bundle.path / "tokenizer.json"
    encoder = parse_encoder(bundle.tokenizer, max_tokens=bundle.manifest.max_tokens, source=source)
    tokens = read_suite_tokens(encoder)
    shape = read_shape(bundle)
    engine_names = [*installed_engines(), *(name for name in list_gpu_engines() if explain_unusable(name) is None)]
    for num_threads in threads:
        peak = measure_peak(shape, num_threads) if shape else None
        for name, variant in bundle.manifest.variants.items():
            model = bundle.model(name)
            for engine_name in engine_names:
                if not has_passed(variant, engine_name):
                    continue
                engine = load_engine(engine_name, model, threads=num_threads, source=bundle.path / variant.file)
                for length in sorted({min(length, bundle.manifest.max_tokens) for length in lengths}):
                    for batch in batches:
                        result = _measure_engine(engine, tokens, batch, length, seconds)
                        result |= _compare_with_peak(
                            shape, None if ENGINES[engine_name].is_gpu else peak, result["rows_per_s"], length
                        )
                        yield {
                            "variant": name,
                            "engine": engine_name,
                            "bytes": len(model),
                            "threads": num_threads,
                            "batch": batch,
                            "tokens": length,
                            **result,
                        }


def measure_peak(shape: Shape, threads: int) -> dict[str, Any]:
    """Return the highest rate of operations in matrix products as wide as the encoder's, and what computed them.

    OpenVINO computes them in the precision that it would take for an encoder (bf16 where the processor can). Without
    OpenVINO, NumPy does in fp32, with all threads.
    """
    values = np.random.default_rng(0).standard_normal((PEAK_TOKENS, shape.width)).astype(np.float32)
    weights = np.random.default_rng(1).standard_normal((shape.width, shape.feed_forward)).astype(np.float32)
    if "openvino" in installed_engines():
        from sentiment_ray.inference.engines.openvino_engine import compile_product

        multiply, measured_with = compile_product(weights, threads)
    else:
        multiply, measured_with = lambda rows: rows @ weights, "numpy fp32"
    times = _time_calls(lambda: multiply(values), PEAK_S)
    flops = 2 * PEAK_TOKENS * shape.width * shape.feed_forward / float(min(times))
    return {"flops_per_s": flops, "with": measured_with}


def _measure_engine(
    engine: Engine, tokens: NDArray[np.int64], batch: int, length: int, seconds: float
) -> dict[str, Any]:
    rows = np.resize(tokens, (batch, length))
    mask = np.ones_like(rows)
    times = _time_calls(lambda: engine.logits(rows, mask), seconds)
    p50, p99 = np.percentile(times, [50, 99])
    return {
        "rows_per_s": round(batch / float(p50), 1),
        "p50_ms": round(1000 * float(p50), 3),
        "p99_ms": round(1000 * float(p99), 3),
        "calls": len(times),
    }


def _compare_with_peak(
    shape: Shape | None, peak: dict[str, Any] | None, rows_per_s: float, length: int
) -> dict[str, Any]:
    if shape is None or peak is None:
        return {}
    flops = rows_per_s * shape.count_flops(length)
    return {
        "gflops_per_s": round(flops / 1e9, 1),
        "share_of_peak": round(flops / peak["flops_per_s"], 3),
        "peak": {"gflops_per_s": round(peak["flops_per_s"] / 1e9, 1), "with": peak["with"]},
    }


def _time_calls(function: Callable[[], Any], seconds: float) -> NDArray[np.float64]:
    """Call a function for some seconds, at least three times after two warm-up calls; return the time of each in s."""
    function(), function()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return np.array(times)

"""How fast this machine runs each file of a bundle, beside what its matrix units can do; knows no texts of users."""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.bundle.open import Bundle
from sentiment_ray.inference.behaviour import load_cases
from sentiment_ray.inference.engines import Engine, available_engines, load_engine
from sentiment_ray.text.encoding import TextEncoder, encode, parse_encoder

SIZE_KEYS = {
    "width": ("hidden_size", "dim"),
    "feed_forward": ("intermediate_size", "hidden_dim"),
    "layers": ("num_hidden_layers", "n_layers"),
}
"""What configurations of encoders call their sizes; DistilBERT has names of its own."""
PEAK_TOKENS = 2048
PEAK_S = 1.0


@dataclass(frozen=True)
class Shape:
    """Width, width of the feed-forward layer and number of layers of an encoder."""

    width: int
    feed_forward: int
    layers: int

    def flops(self, length: int) -> float:
        """Return operations for one text of `length` tokens: matrix products and attention, forward."""
        products = 2 * self.layers * (4 * self.width**2 + 2 * self.width * self.feed_forward)
        return length * (products + 4 * self.layers * length * self.width)


def shape_of(bundle: Bundle) -> Shape | None:
    """Return the sizes that a bundle's config.json names, None where it names them otherwise."""
    values = json.loads((bundle.path / "config.json").read_text(encoding="utf-8"))
    found = {size: next((values[key] for key in keys if key in values), None) for size, keys in SIZE_KEYS.items()}
    sizes = {size: value for size, value in found.items() if isinstance(value, int)}
    return Shape(**sizes) if len(sizes) == len(SIZE_KEYS) else None


def measure_bundle(
    bundle: Bundle, *, batches: tuple[int, ...], lengths: tuple[int, ...], threads: tuple[int, ...], seconds: float
) -> Iterator[dict[str, Any]]:
    """Yield a result for each variant, engine, batch, length and number of threads that the bundle's gate lets run.

    Batches hold tokens of real sentences, all of one length. `share_of_peak` counts the operations of the whole
    encoder, also those that the file leaves out, against the best matrix rate measured here with as many threads.
    """
    source = bundle.path / "tokenizer.json"
    encoder = parse_encoder(bundle.tokenizer, max_tokens=bundle.manifest.max_tokens, source=source)
    tokens = _real_tokens(encoder)
    shape = shape_of(bundle)
    for count in threads:
        peak = measured_peak(shape, count) if shape else None
        for name, variant in bundle.manifest.variants.items():
            model = bundle.model(name)
            for kind in available_engines():
                if not variant.gate.get(kind, {}).get("passed"):
                    continue
                engine = load_engine(kind, model, threads=count, source=bundle.path / variant.file)
                for length in sorted({min(length, bundle.manifest.max_tokens) for length in lengths}):
                    for batch in batches:
                        found = _times(engine, tokens, batch, length, seconds)
                        found |= _share(shape, peak, found["rows_per_s"], length)
                        yield {
                            "variant": name,
                            "engine": kind,
                            "bytes": len(model),
                            "threads": count,
                            "batch": batch,
                            "tokens": length,
                            **found,
                        }


def measured_peak(shape: Shape, threads: int) -> dict[str, Any]:
    """Return the most operations a second of matrix products of the encoder's widths, and what they were measured with.

    OpenVINO's product takes the precision that its encoders run in here (bf16 where the processor has it); without it
    the peak is that of NumPy in fp32 with all threads.
    """
    values = np.random.default_rng(0).standard_normal((PEAK_TOKENS, shape.width)).astype(np.float32)
    weights = np.random.default_rng(1).standard_normal((shape.width, shape.feed_forward)).astype(np.float32)
    if "openvino" in available_engines():
        from sentiment_ray.inference.engines.openvino_engine import matrix_product

        multiply, measured_with = matrix_product(weights, threads)
    else:
        multiply, measured_with = lambda rows: rows @ weights, "numpy fp32"
    times = _repeat(lambda: multiply(values), PEAK_S)
    flops = 2 * PEAK_TOKENS * shape.width * shape.feed_forward / float(min(times))
    return {"flops_per_s": flops, "with": measured_with}


def _real_tokens(encoder: TextEncoder) -> NDArray[np.int64]:
    """Return the ids of the suite's sentences, one after the other."""
    return np.concatenate(encode(encoder, [case.text for case in load_cases()]).ids)


def _times(engine: Engine, tokens: NDArray[np.int64], batch: int, length: int, seconds: float) -> dict[str, Any]:
    rows = np.resize(tokens, (batch, length))
    mask = np.ones_like(rows)
    times = _repeat(lambda: engine.logits(rows, mask), seconds)
    p50, p99 = np.percentile(times, [50, 99])
    return {
        "rows_per_s": round(batch / float(p50), 1),
        "p50_ms": round(1000 * float(p50), 3),
        "p99_ms": round(1000 * float(p99), 3),
        "calls": len(times),
    }


def _share(shape: Shape | None, peak: dict[str, Any] | None, rows_per_s: float, length: int) -> dict[str, Any]:
    if shape is None or peak is None:
        return {}
    flops = rows_per_s * shape.flops(length)
    return {
        "gflops_per_s": round(flops / 1e9, 1),
        "share_of_peak": round(flops / peak["flops_per_s"], 3),
        "peak": {"gflops_per_s": round(peak["flops_per_s"] / 1e9, 1), "with": peak["with"]},
    }


def _repeat(function: Callable[[], Any], seconds: float) -> NDArray[np.float64]:
    """Return the seconds of each call in a while of calls, at least three, after two that are not counted."""
    function(), function()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return np.array(times)


def all_threads() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))

"""In which precision a device multiplies fastest; knows no model and no data."""

import functools
import time

import torch

ROWS, WIDTH, FEED_FORWARD = 1024, 384, 1536
"""Of the products that are timed: a batch of some thousand tokens in a small encoder."""
TURNS = 8


def use_bf16(precision: str, device: torch.device) -> bool:
    """Return whether to use bf16 autocast: as told, and for `auto` where the device multiplies faster in it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return _cpu_multiplies_faster_in_bf16()


@functools.cache
def _cpu_multiplies_faster_in_bf16() -> bool:
    """Time matrix products in turns, an eighth of a second in all, and compare the fastest of each.

    The processor's flags do not tell: with AVX512-BF16 an EPYC gains 2.1 times, a Xeon whose guest may not use AMX
    loses half, and without it oneDNN emulates bf16 at a third of fp32's rate (docs/benchmarks.md).
    """
    fastest = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    factors = {
        dtype: (torch.ones(ROWS, WIDTH, dtype=dtype), torch.ones(WIDTH, FEED_FORWARD, dtype=dtype)) for dtype in fastest
    }
    for _ in range(TURNS):
        for dtype, (rows, weights) in factors.items():
            fastest[dtype] = min(fastest[dtype], _seconds_of(rows, weights))
    return fastest[torch.bfloat16] < fastest[torch.float32]


def _seconds_of(rows: torch.Tensor, weights: torch.Tensor) -> float:
    started = time.perf_counter()
    torch.mm(rows, weights)
    return time.perf_counter() - started

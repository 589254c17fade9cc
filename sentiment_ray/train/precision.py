"""Chooses between fp32 and bf16 by which of them a device multiplies faster in; knows no model and no data."""

import functools
import time

import torch

ROWS, WIDTH, FEED_FORWARD = 1024, 384, 1536
"""Sizes of the matrix product that is timed: a batch of about a thousand tokens in a small encoder."""
NUM_ROUNDS = 8


def use_bf16(precision: str, device: torch.device) -> bool:
    """Return whether to use bf16 autocast; `auto` uses it where the device multiplies faster in bf16."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return _cpu_multiplies_faster_in_bf16()


@functools.cache
def _cpu_multiplies_faster_in_bf16() -> bool:
    """Time matrix products in both types, an eighth of a second in all, and compare the fastest product of each.

    The processor's flags do not answer this. With AVX512-BF16 an EPYC is 2.1 times faster in bf16. A Xeon whose virtual
    machine hides AMX takes twice as long, and without AVX512-BF16 oneDNN emulates bf16 at a third of the speed of fp32
    (benchmarks/results/training.jsonl).
    """
    fastest_s = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    factors = {
        dtype: (torch.ones(ROWS, WIDTH, dtype=dtype), torch.ones(WIDTH, FEED_FORWARD, dtype=dtype))
        for dtype in fastest_s
    }
    for _ in range(NUM_ROUNDS):
        for dtype, (rows, weights) in factors.items():
            fastest_s[dtype] = min(fastest_s[dtype], _time_product(rows, weights))
    return fastest_s[torch.bfloat16] < fastest_s[torch.float32]


def _time_product(rows: torch.Tensor, weights: torch.Tensor) -> float:
    started = time.perf_counter()
    torch.mm(rows, weights)
    return time.perf_counter() - started

"""Measures torch's matrix products at the shapes of the checkpoint, in fp32 and bf16: the peak rate to compare with.

No texts are read. The best of three shapes counts: 2,048 tokens times the weights of an attention projection and of
the two feed-forward layers.
"""

import json
import sys
import time
from pathlib import Path

import torch
from contender import parse_task

TOKENS = 2048
SECONDS = 0.3
TRIES = 5


def main() -> None:
    """Print the best rate of each precision in GFLOP/s."""
    task = parse_task(__doc__)
    torch.set_num_threads(task.threads)
    config = json.loads((Path(task.checkpoint) / "config.json").read_text(encoding="utf-8"))
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes = [(width, width), (width, inner), (inner, width)]
    result: dict[str, float] = {"rows": 0}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        result[f"gflop_per_s_{name}"] = round(max(measure_rate(shape, dtype) for shape in shapes), 1)
    sys.stdout.write(json.dumps(result) + "\n")


def measure_rate(shape: tuple[int, int], dtype: torch.dtype) -> float:
    """Return the best GFLOP/s of TRIES tries; each multiplies TOKENS rows by weights of a shape for SECONDS."""
    rows = torch.randn(TOKENS, shape[0]).to(dtype)
    weights = torch.randn(shape[1], shape[0]).to(dtype).T  # as a linear layer holds them
    flop = 2 * TOKENS * shape[0] * shape[1]
    best = 0.0
    with torch.inference_mode():
        torch.matmul(rows, weights)
        for _ in range(TRIES):
            start, products = time.perf_counter(), 0
            while (seconds := time.perf_counter() - start) < SECONDS:
                torch.matmul(rows, weights)
                products += 1
            best = max(best, products * flop / seconds / 1e9)
    return best


if __name__ == "__main__":
    main()

"""Sums and maxima over all workers (all-reduce); a worker that trains alone keeps its own values."""

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

SUM, MAX = dist.ReduceOp.SUM, dist.ReduceOp.MAX


def any_worker(value: bool) -> bool:
    """Return whether `value` is true on at least one worker."""
    return bool(all_reduce(np.array(value, dtype=np.int64), MAX))


def all_reduce(values: NDArray[Any], operation: Any) -> NDArray[Any]:
    """Return the elementwise SUM or MAX of the workers' arrays, all of one shape; all workers call it together."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return values
    tensor = torch.from_numpy(np.array(values))
    if dist.get_backend() == "nccl":
        tensor = tensor.cuda()
    dist.all_reduce(tensor, op=operation)
    return tensor.cpu().numpy()

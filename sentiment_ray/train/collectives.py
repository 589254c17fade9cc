"""What all workers make of their numbers together; without other workers, what each has of its own."""

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

SUM, MAX = dist.ReduceOp.SUM, dist.ReduceOp.MAX


def any_worker(value: bool) -> bool:
    """Whether it is true of at least one worker."""
    return bool(over_workers(np.array(value, dtype=np.int64), MAX))


def over_workers(values: NDArray[Any], operation: Any) -> NDArray[Any]:
    """Return the sums or maxima of the arrays of all workers; one worker's own where it is alone."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return values
    tensor = torch.from_numpy(np.array(values))
    if dist.get_backend() == "nccl":
        tensor = tensor.cuda()
    dist.all_reduce(tensor, op=operation)
    return tensor.cpu().numpy()

"""What a device needs beside the CPU's path: kernels without plans, seeds, and one copy a batch; knows no model."""

from collections.abc import Sequence
from itertools import accumulate

import torch


def choose_device(*, use_gpu: bool) -> torch.device:
    """Return the GPU of this process, prepared, or the CPU."""
    device = torch.device("cuda" if use_gpu else "cpu")
    prepare_device(device)
    return device


def prepare_device(device: torch.device) -> None:
    """Choose the kernels of a GPU for batches of many shapes. Call it before the first batch; a CPU needs nothing.

    For attention, torch prefers cuDNN, which builds a plan for each new shape of a batch, in about 450 ms. Batches of
    equal tokens differ in rows and length, so nearly each one has a new shape. On an H200, a training step of a BERT
    encoder took 475.8 ms so, and 22.4 ms with torch's own fused attention, whatever the shapes.
    """
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed torch's random numbers on the CPU and on `device`.

    They are those after `torch.manual_seed`, which also looks for every other kind of device: 130 us in each step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def copy_together(tensors: Sequence[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Return tensors of one dtype on a device, parts of one tensor there: one copy, which the CPU does not wait for.

    The copy to a GPU starts in pinned memory. torch keeps such memory, and uses it again only after the copy has ended.
    """
    ends = list(accumulate(tensor.numel() for tensor in tensors))
    packed = torch.empty(ends[-1], dtype=tensors[0].dtype, pin_memory=device.type == "cuda")
    for tensor, part in zip(tensors, packed.tensor_split(ends[:-1]), strict=True):
        part.copy_(tensor.view(-1))
    copied = packed.to(device, non_blocking=True).tensor_split(ends[:-1])
    return [part.view(tensor.shape) for tensor, part in zip(tensors, copied, strict=True)]

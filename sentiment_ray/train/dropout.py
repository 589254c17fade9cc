"""Dropout whose mask costs little on a CPU; knows no model beyond its dropout modules."""

from types import MethodType

import torch

BYTE_VALUES = 256


def cheapen_dropout(model: torch.nn.Module) -> None:
    """Let the dropout modules of a model on a CPU draw their masks a byte an element, in steps of 1/256.

    torch draws each element by itself, in one thread: up to a third of a training step.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.forward = MethodType(_dropped, module)  # type: ignore[method-assign]


def _dropped(module: torch.nn.Dropout, values: torch.Tensor) -> torch.Tensor:
    return dropped(values, module.p) if module.training and module.p else values


def dropped(values: torch.Tensor, share: float) -> torch.Tensor:
    """Return a tensor with about `share` of its elements 0 and the others larger, so that the expected sum stays.

    The share is rounded to a multiple of 1/256, from 1 to 255 of them; torch's own generator decides.
    """
    limit = min(max(1, round(share * BYTE_VALUES)), BYTE_VALUES - 1)
    words = torch.empty(-(-values.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    drawn = words.view(torch.int8)[: values.numel()].view(values.shape)
    # In the type of the values from the start: torch turns a mask of bools into it an element at a time.
    factors = drawn.to(values.dtype).ge_(limit - BYTE_VALUES // 2).mul_(BYTE_VALUES / (BYTE_VALUES - limit))
    return values * factors

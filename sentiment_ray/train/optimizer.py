"""The optimizers of a training: parameter groups, gradient clipping, updates; knows no data and no schedule."""

from collections.abc import Iterable
from typing import Any

import torch

from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.model import count_layers, find_depth


def build_optimizers(
    model: torch.nn.Module, config: TrainConfig, device: torch.device
) -> tuple[torch.optim.Optimizer, ...]:
    """Return AdamW for the trained parameters and, on a CPU, a sparse Adam for the word embeddings.

    The word embeddings are half of a small encoder's weights, and a batch uses a few hundred of their rows. All other
    rows have a gradient of 0; clearing, clipping and applying it took 10 % of a step
    (benchmarks/results/training.jsonl). With the sparse optimizer a row whose word is not in the batch stays as it is.
    AdamW would move it by its momentum. The sparse optimizer has no weight decay.
    """
    embeddings: Any = _trained_word_embeddings(model) if device.type == "cpu" else None
    if embeddings is None:
        return (torch.optim.AdamW(parameter_groups(model, config), lr=config.learning_rate, fused=True),)
    embeddings.sparse = True
    groups = parameter_groups(model, config, without=embeddings.weight)
    rows = {"params": [embeddings.weight], "scale": config.layer_decay ** (count_layers(model) + 1)}
    return (
        torch.optim.AdamW(groups, lr=config.learning_rate, fused=True),
        torch.optim.SparseAdam([rows], lr=config.learning_rate),
    )


def _trained_word_embeddings(model: torch.nn.Module) -> torch.nn.Embedding | None:
    """Return the word embeddings, or None when they are frozen."""
    embeddings = model.get_input_embeddings()  # type: ignore[operator]
    return embeddings if isinstance(embeddings, torch.nn.Embedding) and embeddings.weight.requires_grad else None


def parameter_groups(
    model: torch.nn.Module, config: TrainConfig, *, without: torch.Tensor | None = None
) -> list[dict[str, Any]]:
    """Return the trained parameters in groups for AdamW, `without` one of them.

    Matrices have weight decay; biases and norms have none. `scale` of a group multiplies the learning rate.
    """
    num_layers, layer_decay = count_layers(model), config.layer_decay
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter is not without:
            depth = find_depth(name, num_layers) if layer_decay != 1 else num_layers + 1
            decays = parameter.ndim > 1
            group = groups.setdefault(
                (depth, decays),
                {
                    "params": [],
                    "weight_decay": config.weight_decay if decays else 0.0,
                    "scale": layer_decay ** (num_layers + 1 - depth),
                },
            )
            group["params"].append(parameter)
    return list(groups.values())


def clip_gradients(parameters: Iterable[torch.nn.Parameter], max_norm: float) -> torch.Tensor:
    """Scale all gradients down when their common norm exceeds `max_norm`; return the norm before that.

    Does what torch's clip_grad_norm_ does, and takes sparse gradients as well.
    """
    values = []
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            values.append(parameter.grad.values())
        elif parameter.grad is not None:
            values.append(parameter.grad)
    norm = torch.nn.utils.get_total_norm(values)
    torch._foreach_mul_(values, torch.clamp(max_norm / (norm + 1e-6), max=1.0))
    return norm


def update_weights(
    optimizers: Iterable[torch.optim.Optimizer], is_finite: torch.Tensor, *, learning_rate: float
) -> None:
    """Take a step with every optimizer if `is_finite`, a bool `()`, holds; remove the gradients either way."""
    for optimizer in optimizers:
        for parameters in optimizer.param_groups:
            parameters["lr"] = learning_rate * parameters["scale"]
        if is_finite.is_cuda:
            # Fused AdamW reads this on the GPU and leaves weights and state as they are, so the CPU does not wait.
            optimizer.found_inf = (~is_finite).float()  # type: ignore[attr-defined]
            optimizer.step()
        elif is_finite:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)

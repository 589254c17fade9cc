"""Which parameters are updated how, and how far at once; knows no data and no schedule."""

from collections.abc import Iterable
from typing import Any

import torch

from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.model import count_layers, depth_of


def optimizers_of(
    model: torch.nn.Module, config: TrainConfig, device: torch.device
) -> tuple[torch.optim.Optimizer, ...]:
    """Return AdamW for what is trained and, on a CPU, an Adam of its own for the rows of the word embeddings.

    They are half of a small encoder's weights, of which a batch has some hundred rows: the gradient of all the others
    is 0, and to clear, clip and apply it took 10 % of a step (docs/benchmarks.md). A row that no word of a batch asks
    for stays as it is, where AdamW would move it on by what it remembers; there is no decay of rows.
    """
    words: Any = _word_embeddings(model) if device.type == "cpu" else None
    if words is None:
        return (torch.optim.AdamW(parameter_groups(model, config), lr=config.learning_rate, fused=True),)
    words.sparse = True
    groups = parameter_groups(model, config, without=words.weight)
    rows = {"params": [words.weight], "scale": config.layer_decay ** (count_layers(model) + 1)}
    return (
        torch.optim.AdamW(groups, lr=config.learning_rate, fused=True),
        torch.optim.SparseAdam([rows], lr=config.learning_rate),
    )


def _word_embeddings(model: torch.nn.Module) -> torch.nn.Embedding | None:
    """Return the word embeddings if they are trained."""
    found = model.get_input_embeddings()  # type: ignore[operator]
    return found if isinstance(found, torch.nn.Embedding) and found.weight.requires_grad else None


def parameter_groups(
    model: torch.nn.Module, config: TrainConfig, *, without: torch.Tensor | None = None
) -> list[dict[str, Any]]:
    """Divide the parameters for AdamW: matrices decay, biases and norms do not; `scale` is for the learning rate."""
    num_layers, layer_decay = count_layers(model), config.layer_decay
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter is not without:
            depth = depth_of(name, num_layers) if layer_decay != 1 else num_layers + 1
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


def clip_gradients(parameters: Iterable[torch.nn.Parameter], max_norm: float) -> None:
    """Scale the gradients down where their norm together is larger, as torch's clip_grad_norm_, but sparse ones too."""
    values = []
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            values.append(parameter.grad.values())
        elif parameter.grad is not None:
            values.append(parameter.grad)
    norm = torch.nn.utils.get_total_norm(values)
    torch._foreach_mul_(values, torch.clamp(max_norm / (norm + 1e-6), max=1.0))

"""Notices steps whose loss or gradient is not finite, and ends a training that cannot go on; knows no data and no Ray.

Such a step is skipped: it leaves the weights and the state of the optimizers as they are. The norm of the gradient is
the same on all workers, because it is computed after their gradients are combined. So all of them skip the same steps
without another all-reduce.
"""

import torch

from sentiment_ray.errors import ConfigError
from sentiment_ray.train.config import TrainConfig

MAX_SKIPPED_IN_A_ROW = 10
"""Steps in a row that may be skipped; after these the training ends."""


class SkippedSteps:
    """Counts the skipped steps of an epoch; `steps` and `rows` are totals over all workers, from the epoch's start.

    Reading whether a step was skipped waits for a GPU, so the steps are noted first and read later, all at once.
    """

    def __init__(self, steps: int, rows: int) -> None:
        self.steps, self.rows = steps, rows
        self.in_a_row = 0
        self._unread: list[tuple[torch.Tensor, int]] = []

    def note(self, is_finite: torch.Tensor, num_rows: int) -> None:
        """Remember a step: whether it was taken, a bool `()` on the training's device, and its number of rows."""
        self._unread.append((is_finite, num_rows))

    def count(self) -> bool:
        """Count the steps that were noted; return whether the training is to end because of them."""
        is_over = False
        are_finite = torch.stack([is_finite for is_finite, _ in self._unread]).tolist() if self._unread else []
        for is_finite, (_, num_rows) in zip(are_finite, self._unread, strict=True):
            if is_finite:
                self.in_a_row = 0
            else:
                self.steps, self.rows, self.in_a_row = self.steps + 1, self.rows + num_rows, self.in_a_row + 1
                is_over = is_over or self.in_a_row >= MAX_SKIPPED_IN_A_ROW
        self._unread.clear()
        return is_over


def find_non_finite_weight(model: torch.nn.Module) -> str | None:
    """Return the name of the first weight of a model that holds NaN or an infinite number, or None."""
    named = dict(model.named_parameters())
    are_finite = torch.stack([value.isfinite().all() for value in named.values()]).tolist()
    return next((name for name, is_finite in zip(named, are_finite, strict=True) if not is_finite), None)


def describe_full_memory(config: TrainConfig) -> ConfigError:
    """Return the error that ends a training whose GPU does not hold a batch, with the remedies."""
    fewer, more = max(1, config.token_budget // 2), 2 * config.accumulation_steps
    return ConfigError(
        f"The GPU's memory is too small for a batch of {config.token_budget:,} tokens. Set tokens_per_batch = {fewer}, "
        f"and accumulation_steps = {more} for steps of the same size; or set gradient_checkpointing = true. Then pass "
        "--restart."
    )


def describe_divergence(config: TrainConfig, model: torch.nn.Module, where: str, what: str) -> ConfigError:
    """Return the error that ends a training which diverged: where, what was seen, a damaged weight, and the remedy."""
    weight = find_non_finite_weight(model)
    damage = f" The weight {weight} holds NaN or infinite numbers." if weight else ""
    return ConfigError(
        f"The training diverged in {where}: {what}.{damage} No checkpoint was written of it. The usual cause is the "
        f"learning rate: set learning_rate below {config.learning_rate:g} and pass --restart."
    )

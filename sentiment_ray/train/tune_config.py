"""The keys of [tune] and what a search may try; knows no torch and no Ray, so that --help is quick."""

from itertools import combinations_with_replacement, product
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from sentiment_ray.config.sections import SectionConfig, StageConfig, nearest
from sentiment_ray.errors import ConfigError
from sentiment_ray.train.config import TrainConfig

FIXED = (
    "output",
    "restart",
    "prepared",
    "num_workers",
    "use_gpu",
    "cpus_per_worker",
    "max_failures",
    "track",
    "best_by",
    "keep_checkpoints",
    "checkpoint_every_s",
    "start_from",
    "replay",
    "distill",
)
"""Keys of [train] that a search does not try."""


class Choice(SectionConfig):
    """What may be tried for one key: `choices`, or a number from `low` to `high`."""

    choices: tuple[Any, ...] = ()
    """Values to try."""
    low: float | None = None
    """Smallest number to try."""
    high: float | None = None
    """Largest number to try."""
    log: bool = False
    """Spread the numbers evenly by their logarithm."""

    @model_validator(mode="after")
    def _one_of_both(self) -> "Choice":
        bounded = self.low is not None and self.high is not None
        if bool(self.choices) == bounded or (self.low is None) != (self.high is None):
            raise ValueError("write either choices = [...], or low and high.")
        if self.low is not None and self.high is not None and not 0 <= self.low < self.high:
            raise ValueError("low must be smaller than high, and neither negative.")
        if self.log and not self.low:
            raise ValueError("log needs a low above 0.")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values of which each must be one that the key takes."""
        return self.choices or (self.low, self.high)


class TuneConfig(StageConfig):
    """Keys of [tune]."""

    search: dict[str, Choice] = Field(default_factory=dict)
    """What to try, by key of [train]: a table of choices, or of low, high and log."""
    trials: Annotated[int, Field(ge=1)] = 20
    """Trainings to try; bad ones are ended early."""
    cpus_per_trial: Annotated[float, Field(gt=0)] | None = None
    """CPUs of a trial; by default all of the cluster's largest node but a quarter of one."""
    gpus_per_trial: Annotated[float, Field(ge=0)] | None = None
    """GPUs of a trial, a fraction allowed; by default one with `use_gpu` of [train], else none."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of what is tried."""


def check_search(search: dict[str, Choice], base: TrainConfig) -> list[TrainConfig]:
    """Return the configurations with any two keys at any of their ends, and the other keys at their first.

    ConfigError for a key that [train] has not, or that is not searched, and for values that it does not take, also for
    two that it does not take together.
    """
    for key in ("distill", "replay"):
        if getattr(base, key):
            raise ConfigError(f"A search trains on the prepared reviews alone. Leave {key} of [train] out of its file.")
    known = [name for name in TrainConfig.model_fields if name not in FIXED]
    if not search:
        raise ConfigError("[tune.search] is missing: say what to try, as learning_rate = {low = 1e-5, high = 1e-4}.")
    for name in search:
        if name not in known:
            raise ConfigError(f"[tune.search]: {name!r} is no key of [train] to try.{nearest(name, known)}")
    if "model" in search and base.start_from:
        raise ConfigError(
            "[tune.search] tries models, and [train] has one already by start_from. Leave one of them out."
        )
    first = base.model_dump() | {name: choice.ends[0] for name, choice in search.items()}
    found = []
    for one, other in combinations_with_replacement(search, 2):
        for value, beside in product(search[one].ends, search[other].ends):
            found.append(_drawn(first | {one: value, other: beside}))
    return found


def _drawn(keys: dict[str, Any]) -> TrainConfig:
    try:
        return TrainConfig.model_validate(keys)
    except ValidationError as error:
        wrong = error.errors()[0]
        reason = wrong["msg"].removeprefix("Value error, ").rstrip(".")
        what = f"{wrong['loc'][0]}: {wrong['input']!r} is no value of the key ({reason})" if wrong["loc"] else reason
        raise ConfigError(f"[tune.search] {what}.") from None


def is_whole(name: str, drawn: TrainConfig) -> bool:
    """Whether a key of [train] takes whole numbers, as it did the one that was drawn for it."""
    return isinstance(getattr(drawn, name), int)

"""The keys of [tune] and what a search may try; knows no torch and no Ray, so that --help is quick."""

from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from sentiment_ray.config import SectionConfig, StageConfig, nearest
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

    search: dict[str, Choice]
    """What to try, by key of [train]: a table of choices, or of low, high and log."""
    trials: Annotated[int, Field(ge=1)] = 20
    """Trainings to try; bad ones are ended early."""
    cpus_per_trial: Annotated[float, Field(gt=0)] | None = None
    """CPUs of a trial; by default all of the cluster's largest node but a quarter of one."""
    gpus_per_trial: Annotated[float, Field(ge=0)] | None = None
    """GPUs of a trial, a fraction allowed; by default one with `use_gpu` of [train], else none."""
    seed: int = 0
    """Seed of what is tried."""


def check_search(search: dict[str, Choice], base: TrainConfig) -> None:
    """Raise ConfigError for a key that [train] has not, or that is not searched, and for a value it does not take."""
    for key in ("distill", "replay"):
        if getattr(base, key):
            raise ConfigError(f"A search trains on the prepared reviews alone. Leave {key} of [train] out of its file.")
    known = [name for name in TrainConfig.model_fields if name not in FIXED]
    if not search:
        raise ConfigError("[tune.search] is missing: say what to try, as learning_rate = {low = 1e-5, high = 1e-4}.")
    for name, choice in search.items():
        if name not in known:
            raise ConfigError(f"[tune.search]: {name!r} is no key of [train] to try.{nearest(name, known)}")
        for value in choice.ends:
            try:
                TrainConfig.model_validate(base.model_dump() | {name: value})
            except ValidationError as error:
                reason = error.errors()[0]["msg"]
                raise ConfigError(f"[tune.search] {name}: {value!r} is no value of the key ({reason}).") from None


def is_whole(name: str, choice: Choice, base: TrainConfig) -> bool:
    """Whether a key of [train] takes whole numbers, as it does what `low` of its choice is."""
    return isinstance(getattr(TrainConfig.model_validate(base.model_dump() | {name: choice.low}), name), int)

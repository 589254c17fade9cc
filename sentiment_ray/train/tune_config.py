"""The keys of [tune] and the checks of a search space; imports no torch and no Ray, so `--help` is fast."""

from collections.abc import Iterator, Mapping
from itertools import combinations_with_replacement, product
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from sentiment_ray.config.sections import SectionConfig, StageConfig, rename_old_keys, suggest
from sentiment_ray.errors import ConfigError
from sentiment_ray.train.config import TrainConfig

FIXED_KEYS = (
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
    "seed",
)
"""Keys of [train] that a search cannot vary."""


class SearchRange(SectionConfig):
    """The values to try for one key of [train]: a list of `choices`, or the numbers from `low` to `high`."""

    choices: tuple[Any, ...] = ()
    """Values to try."""
    low: float | None = None
    """Smallest number to try, at least 0; above 0 with `log`."""
    high: float | None = None
    """Largest number to try."""
    log: bool = False
    """Draw numbers evenly on a logarithmic scale."""

    @model_validator(mode="after")
    def _check_kind(self) -> "SearchRange":
        has_bounds = self.low is not None and self.high is not None
        if bool(self.choices) == has_bounds or (self.low is None) != (self.high is None):
            raise ValueError("write either choices = [...], or low and high.")
        if self.low is not None and self.high is not None and not 0 <= self.low < self.high:
            raise ValueError("low must be at least 0 and smaller than high.")
        if self.log and not self.low:
            raise ValueError("log needs a low above 0.")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """All choices, or the two bounds: the values that are checked before a search starts."""
        return self.choices or (self.low, self.high)


class TuneConfig(StageConfig):
    """Keys of [tune]."""

    search: dict[str, SearchRange] = Field(default_factory=dict)
    """Values to try, by key of [train]: a table with choices, or with low, high and log."""
    trials: Annotated[int, Field(ge=1)] = 20
    """Number of trainings to try, of different settings. A finished search goes on when this number is raised."""
    cpus_per_trial: Annotated[float, Field(gt=0)] | None = None
    """CPUs of a trial; by default those of the cluster's largest node, less a quarter of a CPU."""
    gpus_per_trial: Annotated[float, Field(ge=0)] | None = None
    """GPUs of a trial, fractions allowed; by default 1 with `use_gpu` of [train], else 0."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the values that are drawn."""

    @field_validator("search", mode="before")
    @classmethod
    def _rename_searched_keys(cls, search: Any) -> Any:
        return rename_old_keys(TrainConfig, search) if isinstance(search, dict) else search


def apply_keys(base: TrainConfig, keys: Mapping[str, Any]) -> TrainConfig:
    """Return `base` with some keys of a search; defaults that depend on these keys are chosen again.

    ConfigError names the key that does not accept its value.
    """
    return _validate(base.model_dump(exclude_unset=True) | rename_old_keys(TrainConfig, keys))


def check_search(search: dict[str, SearchRange], base: TrainConfig) -> list[TrainConfig]:
    """Return the configurations with every pair of keys at all their ends, and all other keys at their first end.

    ConfigError for an unknown or a fixed key, and for values that [train] does not accept, alone or in a pair.
    """
    for key in ("distill", "replay"):
        if getattr(base, key):
            raise ConfigError(f"A search trains on the prepared reviews only. Remove {key} from [train] of its file.")
    known = [name for name in TrainConfig.model_fields if name not in FIXED_KEYS]
    if not search:
        raise ConfigError("[tune.search] is missing: say what to try, as learning_rate = {low = 1e-5, high = 1e-4}.")
    if "seed" in search:
        raise ConfigError(
            "[tune.search]: a seed cannot be tried. Trials that differ in their seed differ by luck, and the luckiest "
            "is no better on new rows. Set seed in [train], for all trials."
        )
    for name in search:
        if name not in known:
            raise ConfigError(f"[tune.search]: {name!r} is not a key of [train] to try.{suggest(name, known)}")
    if "model" in search and base.start_from:
        raise ConfigError("[tune.search] tries models, but start_from of [train] sets the model. Remove one of them.")
    first = {name: values.ends[0] for name, values in search.items()}
    return [
        apply_keys(base, first | {one: value, other: other_value})
        for one, other in combinations_with_replacement(search, 2)
        for value, other_value in product(search[one].ends, search[other].ends)
    ]


def _validate(keys: dict[str, Any]) -> TrainConfig:
    """Return a configuration of [train]; ConfigError names the key that does not accept its value."""
    try:
        return TrainConfig.model_validate(keys)
    except ValidationError as error:
        wrong = error.errors()[0]
        reason = wrong["msg"].removeprefix("Value error, ").rstrip(".")
        if wrong["loc"]:
            reason = f"{wrong['loc'][0]} does not accept {wrong['input']!r} ({reason})"
        raise ConfigError(f"[tune.search] {reason}.") from None


def list_settings(search: Mapping[str, SearchRange], checked: TrainConfig) -> Iterator[dict[str, Any]] | None:
    """Yield all settings of a search, or return None when one of its keys takes any number between two bounds."""
    values = []
    for name, tried in search.items():
        if not tried.choices and not takes_integers(name, checked):
            return None
        values.append(tried.choices or range(int(tried.low or 0), int(tried.high or 0) + 1))
    return (dict(zip(search, setting, strict=True)) for setting in product(*values))


def takes_integers(name: str, checked: TrainConfig) -> bool:
    """Return whether a key of [train] takes integers, as it did when it was checked with a value of the search."""
    return isinstance(getattr(checked, name), int)

"""The keys of [prepare] that say what rows are made into: clean texts, splits, a balanced and larger training split."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from sentiment_ray.config.sections import Names, StageConfig
from sentiment_ray.data.augmentation import OPERATIONS
from sentiment_ray.data.readers.timestamps import microseconds_of
from sentiment_ray.text.cleaning import check_cleaning_steps

SplitBy = Literal["hash", "stratified", "group", "time"]
KEYS_OF = {"group_column": "group", "time_column": "time", "validation_from": "time", "test_from": "time"}
"""Keys that belong to one way of splitting."""


def _as_text(value: Any) -> Any:
    """Return the dates of TOML as those of a flag."""
    return value.isoformat() if isinstance(value, date) else value


Moment = Annotated[str, BeforeValidator(_as_text)]


class Augment(BaseModel):
    """Keys of [prepare.augment]: altered copies of training rows, beside the rows themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    share: Annotated[float, Field(gt=0, le=1)]
    """Share of the training rows of which an altered copy is added."""
    operations: Annotated[Names, Field(min_length=1)] = tuple(OPERATIONS)
    """What is done to a copy, one of these: typo, repeat_letter, lower_case, drop_article."""

    @field_validator("operations")
    @classmethod
    def _known(cls, operations: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in operations if name not in OPERATIONS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no operation. Known: {', '.join(OPERATIONS)}.")
        return operations


class Division(StageConfig):
    """The keys of [prepare] after those of its sources."""

    clean: Names = ()
    """What is done to texts, in this order: unescape_html, strip_tags, fix_mojibake, normalise_whitespace, mask_urls,
    mask_handles; carried into the bundle."""
    split_by: SplitBy = "hash"
    """What decides on a row's split: hash (of its text), group, time, or stratified (every label has its exact share;
    rows near a boundary may move when others are added, which with the first three none ever does)."""
    group_column: str | None = None
    """With split_by = group, the column that names the product or user; all rows of one are in one split."""
    time_column: str | None = None
    """With split_by = time, the column that says when a row was written: a date, ISO 8601, or seconds since 1970."""
    validation_from: Moment | None = None
    """With split_by = time, the day or time from which rows are for validation; what is before is for training."""
    test_from: Moment | None = None
    """With split_by = time, the day or time from which rows are for the test."""
    balance: Literal["none", "over", "under"] = "none"
    """Rows of each label to train on: none (as they are), over (rare ones again), under (as many as of the rarest)."""
    augment: Augment | None = None
    """Altered copies of training rows; a section of its own."""

    @field_validator("clean")
    @classmethod
    def _steps_are_known(cls, steps: tuple[str, ...]) -> tuple[str, ...]:
        return check_cleaning_steps(steps)

    @field_validator("validation_from", "test_from")
    @classmethod
    def _is_a_time(cls, value: str | None) -> str | None:
        if value is not None and microseconds_of(value) is None:
            raise ValueError("this is no day or time. Write it as 2024-01-31 or 2024-01-31T12:00:00Z.")
        return value

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Division":
        for key, split_by in KEYS_OF.items():
            if getattr(self, key) is not None and self.split_by != split_by:
                raise ValueError(f"{key} is for split_by = {split_by!r}, here it is {self.split_by!r}.")
        if self.split_by == "time" and self.validation_from is None and self.test_from is None:
            raise ValueError(
                "split_by = 'time' needs the days from which rows are held out: validation_from, test_from."
            )
        validation_from, test_from = self.bounds
        if validation_from > test_from:
            raise ValueError(
                f"validation_from = {self.validation_from} is after test_from = {self.test_from}: rows are divided in "
                "the order train, validation, test."
            )
        return self

    @property
    def bounds(self) -> tuple[int, int]:
        """The microseconds since 1970 from which rows are for validation, and for the test; a far time for never."""
        days = (self.validation_from or self.test_from, self.test_from)
        validation_from, test_from = (microseconds_of(day) if day else None for day in days)
        never = (1 << 63) - 1
        return (
            never if validation_from is None else validation_from,
            never if test_from is None else test_from,
        )


def splits_wanted(config: Division, shares: Mapping[str, float]) -> set[str]:
    """Return the splits that were asked for: those with a share or, with split_by = time, a day."""
    if config.split_by != "time":
        return {split for split, share in shares.items() if share > 0}
    days = {"validation": config.validation_from, "test": config.test_from}
    return {"train"} | {split for split, day in days.items() if day is not None}

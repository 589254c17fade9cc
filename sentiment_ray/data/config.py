"""The keys of [prepare]: labels, splits, training rows and outputs; reads no data.

The keys of [[prepare.sources]] are in source_config.py, those of the checks in check_config.py.
"""

import logging
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sentiment_ray import log
from sentiment_ray.config.sections import Names, SectionConfig, Share, ValueOfBareFlag, is_unset
from sentiment_ray.data.augmentation import OPERATIONS
from sentiment_ray.data.check_config import CheckConfig
from sentiment_ray.data.readers.timestamps import parse_microseconds
from sentiment_ray.data.source_config import Source, check_source_labels, resolve_usual_stars
from sentiment_ray.data.text_format import Format
from sentiment_ray.labels import DEFAULT_LABELS, check_labels
from sentiment_ray.text.cleaning import check_cleaning_steps

SINGLE_SOURCE_KEYS = (
    "input", "format", "encoding", "separator", "quote", "escape",
    "text_column", "label_column", "stars", "label_map", "cut_points", "leave_out",
)  # fmt: skip
"""Keys of [prepare] that describe one source; all but `input` are also keys of [[prepare.sources]]."""
SPLITS = ("train", "validation", "test")
NEVER_MICROSECONDS = (1 << 63) - 1
WRITTEN_COLUMNS = ("id", "text", "label", "source", "file", "row", "reason")
"""Columns of the splits and of the rejected rows."""
SPLIT_BY_KEYS = {"group_column": "group", "time_column": "time", "validation_from": "time", "test_from": "time"}
"""Keys that only one value of split_by uses."""


def _to_iso_text(value: Any) -> Any:
    """Return a TOML date as the text that a flag would give."""
    return value.isoformat() if isinstance(value, date) else value


Time = Annotated[str, BeforeValidator(_to_iso_text)]


class Augment(BaseModel):
    """Keys of [prepare.augment]: altered copies of training rows."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    share: Annotated[float, Field(gt=0, le=1)]
    """Share of the training rows that get an altered copy."""
    operations: Annotated[Names, Field(min_length=1)] = tuple(OPERATIONS)
    """Operations to choose from for each copy: typo, repeat_letter, lower_case, drop_article."""

    @field_validator("operations")
    @classmethod
    def _check_operations(cls, operations: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in operations if name not in OPERATIONS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not an operation. Known: {', '.join(OPERATIONS)}.")
        return operations


class Hosted(SectionConfig):
    """Keys of [prepare.hosted]: what a hosted fine-tune on a chat source would cost."""

    price_per_million_tokens: Annotated[float, Field(ge=0)] | None = None
    """Price of training on one million tokens, in any currency."""
    epochs: Annotated[int, Field(ge=1)] = 3
    """Number of times that the hosted fine-tune reads each example."""
    tokenizer: str | None = None
    """Path of a tokenizer.json that counts the tokens. Default: an estimate of one token per four characters."""


class PrepareConfig(CheckConfig):
    """Keys of [prepare]."""

    labels: Names = DEFAULT_LABELS
    """The labels in their order. All later stages use this order."""
    sources: tuple[Source, ...] = Field(default=(), min_length=1)
    """The sources. The keys from input to leave_out describe a single source instead."""
    input: str | None = Field(default=None, exclude=True)
    """The only source: a file, a directory or a glob."""
    format: Format | None = Field(default=None, exclude=True)
    """Format of --input: auto, parquet, csv, tsv, jsonl or chat."""
    encoding: str | None = Field(default=None, exclude=True)
    """Encoding of --input, such as cp1252 or utf-16. Default: UTF-8."""
    separator: str | None = Field(default=None, exclude=True)
    """Character between the cells of --input (csv, tsv), or tab. Default: a comma or a tab, or the usual one that the
    header shows."""
    quote: str | None = Field(default=None, exclude=True)
    """Character around cells of --input (csv, tsv), or none. Default: the double quote, but none between tabs."""
    escape: str | None = Field(default=None, exclude=True)
    """Character before a quote inside a cell of --input (csv, tsv), or none. Default: a quote is doubled."""
    text_column: Names | None = Field(default=None, exclude=True)
    """Column of --input that holds the review. The texts of several columns, as in title,body, are joined by line
    breaks."""
    label_column: str | None = Field(default=None, exclude=True)
    """Column of --input that holds the label."""
    stars: Annotated[str | None, ValueOfBareFlag("usual")] = Field(default=None, exclude=True)
    """The labels of --input are ratings. Without a value: 1 and 2 are negative, 3 is neutral, 4 and 5 are positive;
    if the labels are negative and positive, rows with 3 are left out. With one: 'bad=1,2 good=3,4,5'."""
    label_map: str | None = Field(default=None, exclude=True)
    """Labels of the values of the label column of --input, as in pos=positive,neg=negative."""
    cut_points: str | None = Field(default=None, exclude=True)
    """Grades at which the labels of --input change, as in 2.5,3.5: below 2.5 the first label, from 3.5 on the third."""
    leave_out: str | None = Field(default=None, exclude=True)
    """Values of the label column of --input whose rows are left out, between commas."""
    columns: Names = Field(default=(), exclude_if=is_unset)
    """Further columns of the sources to copy into the splits, as in product,date. The default is none."""
    clean: Names = ()
    """Cleaning steps, applied to the texts in this order: unescape_html, strip_tags, fix_mojibake,
    normalise_whitespace, mask_urls, mask_handles. The bundle applies the same steps."""
    max_rejected: Share = 0.05
    """Share of defective rows above which the job stops with exit code 2."""
    keep_duplicates: bool = False
    """Keep rows with equal texts and equal labels, all in one split. Equal texts with different labels are removed
    anyway."""

    split_by: Literal["hash", "stratified", "group", "time"] = "hash"
    """What decides on a row's split: hash (of its text), group, time, or stratified (every label gets its exact share).
    With hash, group and time, new rows never move old ones to another split; with stratified they may move a few."""
    validation_share: Share = 0.1
    """Share of the rows for validation."""
    test_share: Share = 0.1
    """Share of the rows for the test."""
    group_column: str | None = None
    """With split_by = group: the column that names the product or user. All rows of a group get one split."""
    time_column: str | None = None
    """With split_by = time: the column that holds the time of a row, as a date, in ISO 8601, or in seconds since
    1970."""
    validation_from: Time | None = None
    """With split_by = time: the day or time at which validation starts. Earlier rows are for training."""
    test_from: Time | None = None
    """With split_by = time: the day or time at which the test starts."""
    seed: int = 0
    """Seed of the split. Another seed gives other splits."""
    balance: Literal["none", "over", "under"] = "none"
    """Number of training rows of each label: none (as they are), over (repeat rows of rarer labels), under (as many as
    the rarest label has)."""
    augment: Augment | None = None
    """Altered copies of training rows; a section of its own."""

    to_chat: str | None = None
    """Directory that also gets the splits as chat files, one for each split, for a hosted fine-tune."""
    system_message: str | None = None
    """With --to-chat: the system message of every example. Default: none."""
    hosted: Hosted = Hosted()
    """Price and tokenizer of a hosted fine-tune, for the report on chat sources."""

    @property
    def split_times(self) -> tuple[int, int]:
        """The times at which validation and test start, in microseconds since 1970; NEVER_MICROSECONDS for no start."""
        starts = (self.validation_from or self.test_from, self.test_from)
        validation_from, test_from = (parse_microseconds(start) if start else None for start in starts)
        return (
            NEVER_MICROSECONDS if validation_from is None else validation_from,
            NEVER_MICROSECONDS if test_from is None else test_from,
        )

    @model_validator(mode="before")
    @classmethod
    def _read_single_source(cls, values: Any) -> Any:
        """Turn the keys of a single source, SINGLE_SOURCE_KEYS, into `sources`."""
        single = {key: values[key] for key in SINGLE_SOURCE_KEYS if key in values}
        if not single:
            return values
        if "input" not in single:
            key = next(iter(single))
            raise ValueError(
                f"--{key.replace('_', '-')} describes --input, which is missing. Pass --input, or set {key} in "
                "[[prepare.sources]]"
            )
        if values.get("sources"):
            log.notify(
                f"input = {single['input']!r} is read instead of the {len(values['sources'])} [[prepare.sources]].",
                level=logging.WARNING,
            )
        rest = {key: value for key, value in values.items() if key not in single}
        return rest | {"sources": [{"path": single.pop("input"), **single}]}

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        names = check_labels(labels)
        if len({name.casefold() for name in names}) < len(names):
            raise ValueError("two labels differ in case alone, which does not matter. Keep one of them")
        return names

    @field_validator("columns")
    @classmethod
    def _check_columns(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        taken = [name for name in names if name.casefold() in WRITTEN_COLUMNS]  # Spark and DuckDB ignore case
        if taken:
            raise ValueError(f"{taken[0]!r} is a column that prepare_reviews writes itself. Rename it in the sources.")
        if len(set(names)) < len(names):
            raise ValueError("a column is named twice. Name each column once.")
        return names

    @field_validator("clean")
    @classmethod
    def _check_cleaning_steps(cls, steps: tuple[str, ...]) -> tuple[str, ...]:
        return check_cleaning_steps(steps)

    @field_validator("validation_from", "test_from")
    @classmethod
    def _check_time(cls, value: str | None) -> str | None:
        if value is not None and parse_microseconds(value) is None:
            raise ValueError("this is not a day or a time. Write it as 2024-01-31 or 2024-01-31T12:00:00Z.")
        return value

    @model_validator(mode="after")
    def _check_sources(self) -> "PrepareConfig":
        if not self.sources:
            raise ValueError(
                "no source is given. Pass --input, or write [[prepare.sources]] with a path into the file."
            )
        for source in self.sources:
            check_source_labels(source, self.labels)
        return self

    @field_validator("sources")
    @classmethod
    def _resolve_usual_stars(cls, sources: tuple[Source, ...], info: ValidationInfo) -> tuple[Source, ...]:
        labels = info.data.get("labels", ())
        return tuple(resolve_usual_stars(source, labels) for source in sources)

    @model_validator(mode="after")
    def _check_split_keys(self) -> "PrepareConfig":
        for key, split_by in SPLIT_BY_KEYS.items():
            if getattr(self, key) is not None and self.split_by != split_by:
                raise ValueError(f"{key} is for split_by = {split_by!r}, but split_by is {self.split_by!r}.")
        if self.split_by == "time" and self.validation_from is None and self.test_from is None:
            raise ValueError("split_by = 'time' needs a day at which a held-out split starts. Set validation_from or "
                             "test_from.")  # fmt: skip
        validation_from, test_from = self.split_times
        if validation_from > test_from:
            raise ValueError(
                f"validation_from = {self.validation_from} is after test_from = {self.test_from}. The order of the "
                "splits is train, validation, test."
            )
        if self.validation_share + self.test_share >= 1:
            raise ValueError(
                f"validation_share {self.validation_share} and test_share {self.test_share} leave nothing to train on."
            )
        return self

    @model_validator(mode="after")
    def _check_split_columns(self) -> "PrepareConfig":
        for key in ("group_column", "time_column"):
            split_by = SPLIT_BY_KEYS[key]
            for source in self.sources:
                column = getattr(source, key)
                if column and self.split_by != split_by:
                    raise ValueError(
                        f"{key} of {source.path!r} is for split_by = {split_by!r}, but split_by is {self.split_by!r}."
                    )
                if self.split_by == split_by and source.split == "auto" and not (column or getattr(self, key)):
                    raise ValueError(f"split_by = {split_by!r} needs {key} for the source {source.path!r}.")
        return self

    @model_validator(mode="after")
    def _check_other_pairs(self) -> "PrepareConfig":
        if self.keep_together and self.split_by != "hash":
            raise ValueError(
                f"keep_together is for split_by = 'hash', but split_by is {self.split_by!r}. Remove one of them."
            )
        if self.system_message is not None and self.to_chat is None:
            raise ValueError("system_message is for --to-chat, which is missing.")
        return self

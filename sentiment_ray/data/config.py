"""The keys of [prepare]: which sources hold the reviews and how they are split; reads no data."""

from itertools import pairwise
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from sentiment_ray.config.sections import Names, SectionConfig, Share
from sentiment_ray.data.check_config import CheckConfig
from sentiment_ray.data.division import Division
from sentiment_ray.labels import DEFAULT_LABELS, check_labels

Format = Literal["auto", "parquet", "csv", "tsv", "jsonl", "chat"]
SPLITS = ("train", "validation", "test")


def _keys_as_text(value: Any) -> Any:
    return {str(key): label for key, label in value.items()} if isinstance(value, dict) else value


class Source(BaseModel):
    """One place that reviews come from: a file, a directory or a glob, with its own columns and labels."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    path: str
    """File, directory or glob."""
    name: str = ""
    """Name of the source in counts and ids; by default the file's name without its ending."""
    format: Format = "auto"
    """parquet, csv, tsv, jsonl or chat; auto decides by the file's ending (chat must be named)."""
    text_column: Annotated[Names, Field(min_length=1)] = ("text",)
    """Column that holds the review; several, as ["title", "body"], are read one after the other, a line each."""
    label_column: str = "label"
    """Column that holds the label."""
    id_column: str | None = None
    """Column that identifies a row; by default the file's name and the row's number in it."""
    label_map: Annotated[dict[str, str], BeforeValidator(_keys_as_text)] = {}
    """From the values of the label column to labels; empty: they are labels already."""
    stars: dict[str, tuple[float, ...]] = {}
    """Short for a label_map of ratings: { negative = [1, 2], neutral = [3], positive = [4, 5] }."""
    cut_points: tuple[float, ...] = ()
    """Grades at which the next label begins: with [2.5, 3.5], below 2.5 is the first label, from 3.5 on the third."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the source to use, chosen by a hash of the text; the rest is counted as left out."""
    split: Literal["auto", "train", "validation", "test"] = "auto"
    """Put the whole source into one split instead of dividing it."""
    group_column: str | None = None
    """Column that names a row's group, where it is not that of [prepare]; without it a source of one split has none."""
    time_column: str | None = None
    """Column that says when a row was written, where it is not that of [prepare]."""

    @property
    def key_column(self) -> str | None:
        """The column that a row's split is drawn from, if it is not the text."""
        return self.group_column or self.time_column

    @property
    def mapping(self) -> dict[str, str]:
        """From the values of the label column to labels, as label_map or stars say; empty: no such map."""
        by_stars = {f"{rating:g}": label for label, ratings in self.stars.items() for rating in ratings}
        return self.label_map or by_stars

    @property
    def columns(self) -> list[str]:
        """The names of the columns that are read, each once."""
        names = (self.id_column, *self.text_column, self.label_column, self.key_column)
        return list(dict.fromkeys(name for name in names if name))


def _check_one_way_to_labels(source: Source) -> None:
    given = [key for key in ("label_map", "stars", "cut_points") if getattr(source, key)]
    if len(given) > 1:
        raise ValueError(f"{given[0]} and {given[1]} of {source.path!r} exclude each other. Keep one of them.")
    ratings = [rating for ratings in source.stars.values() for rating in ratings]
    if len(set(ratings)) < len(ratings):
        raise ValueError(f"stars of {source.path!r} name a rating twice. Name each once.")
    points = source.cut_points
    if not all(map(isfinite, points)) or any(low >= high for low, high in pairwise(points)):
        raise ValueError(f"cut_points of {source.path!r} must rise from one to the next (found: {list(points)}).")


def _check_meanings(source: Source, labels: tuple[str, ...]) -> None:
    where = "stars" if source.stars else "label_map"
    for value, label in source.mapping.items():
        if label not in labels:
            raise ValueError(
                f"{where} of {source.path!r} maps {value!r} to {label!r}, which is not "
                f"in labels ({', '.join(labels)}). Correct one of them."
            )
    if source.cut_points and len(source.cut_points) != len(labels) - 1:
        raise ValueError(
            f"cut_points of {source.path!r} are {len(source.cut_points)}, and {len(labels)} labels have "
            f"{len(labels) - 1} between them. Correct one of them."
        )


class Hosted(SectionConfig):
    """Keys of [prepare.hosted]: what a hosted fine-tune of a chat source would cost."""

    price_per_million_tokens: Annotated[float, Field(ge=0)] | None = None
    """Price of training on a million tokens, in any currency."""
    epochs: Annotated[int, Field(ge=1)] = 3
    """Times that the hosted fine-tune reads each example."""
    tokenizer: str | None = None
    """A tokenizer.json to count with; by default tokens are estimated as characters / 4."""


class PrepareConfig(Division, CheckConfig):
    """Keys of [prepare]."""

    sources: tuple[Source, ...] = Field(default=(), min_length=1)
    """The sources; a single one can be given by the four keys below instead."""
    input: str | None = Field(default=None, exclude=True)
    """The only source: a file, a directory or a glob."""
    format: Format | None = Field(default=None, exclude=True)
    """Format of --input: auto, parquet, csv, tsv, jsonl or chat."""
    text_column: Names | None = Field(default=None, exclude=True)
    """Column of --input that holds the review; several, as title,body, are read one after the other, a line each."""
    label_column: str | None = Field(default=None, exclude=True)
    """Column of --input that holds the label."""
    labels: Names = DEFAULT_LABELS
    """The labels in their order; every stage after this one copies them."""
    keep_duplicates: bool = False
    """Keep rows with equal texts and equal labels (always in one split); conflicting ones are removed anyway."""
    validation_share: Share = 0.1
    """Share of the rows for validation."""
    test_share: Share = 0.1
    """Share of the rows for the test."""
    max_rejected: Share = 0.05
    """Share of defective rows above which the job stops with exit code 2."""
    seed: int = 0
    """Another seed divides the rows into other splits."""
    to_chat: str | None = None
    """Directory to write the splits into as chat files as well, one a split, for a hosted fine-tune."""
    system_message: str | None = None
    """With --to-chat: the system message of every example; by default none has one."""
    hosted: Hosted = Hosted()
    """Price and tokenizer of a hosted fine-tune, for the report on chat sources."""

    @model_validator(mode="before")
    @classmethod
    def _single_source(cls, values: Any) -> Any:
        """Read the short form of one source: input, format, text_column, label_column."""
        short = {key: values[key] for key in ("input", "format", "text_column", "label_column") if key in values}
        if not short:
            return values
        if "input" not in short:
            raise ValueError("--format, --text-column and --label-column describe --input, which is missing.")
        rest = {key: value for key, value in values.items() if key not in short}
        return rest | {"sources": [{"path": short.pop("input"), **short}]}

    @field_validator("labels")
    @classmethod
    def _labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        return check_labels(labels)

    @model_validator(mode="after")
    def _sources_lead_to_labels(self) -> "PrepareConfig":
        if not self.sources:
            raise ValueError(
                "no source is given. Pass --input, or write [[prepare.sources]] with a path into the file."
            )
        for source in self.sources:
            _check_one_way_to_labels(source)
            _check_meanings(source, self.labels)
        return self

    @model_validator(mode="after")
    def _system_message_goes_into_chats(self) -> "PrepareConfig":
        if self.system_message is not None and self.to_chat is None:
            raise ValueError("system_message belongs to --to-chat, which is missing.")
        return self

    @model_validator(mode="after")
    def _sources_have_what_splits_them(self) -> "PrepareConfig":
        for name in ("group_column", "time_column"):
            by = name.removesuffix("_column")
            for source in self.sources:
                found = getattr(source, name)
                if found and self.split_by != by:
                    raise ValueError(
                        f"{name} of {source.path!r} is for split_by = {by!r}, here it is {self.split_by!r}."
                    )
                if self.split_by == by and source.split == "auto" and not (found or getattr(self, name)):
                    raise ValueError(f"split_by = {by!r} needs {name} for the source {source.path!r}.")
        return self

    @model_validator(mode="after")
    def _clusters_can_be_kept_together(self) -> "PrepareConfig":
        if self.keep_together and self.split_by != "hash":
            raise ValueError(f"keep_together is for split_by = 'hash', here it is {self.split_by!r}. Drop one of them.")
        return self

    @model_validator(mode="after")
    def _shares_leave_a_training_set(self) -> "PrepareConfig":
        if self.validation_share + self.test_share >= 1:
            raise ValueError(
                f"validation_share {self.validation_share} and test_share {self.test_share} leave nothing to train on."
            )
        return self

"""The keys of [prepare]: which sources hold the reviews and how they are split; reads no data."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from sentiment_ray.config import Names
from sentiment_ray.data.division import Division
from sentiment_ray.labels import DEFAULT_LABELS, check_labels

Format = Literal["auto", "parquet", "csv", "tsv", "jsonl", "chat"]
Share = Annotated[float, Field(ge=0, le=1)]
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
    text_column: str = "text"
    """Column that holds the review."""
    label_column: str = "label"
    """Column that holds the label."""
    id_column: str | None = None
    """Column that identifies a row; by default the file's name and the row's number in it."""
    label_map: Annotated[dict[str, str], BeforeValidator(_keys_as_text)] = {}
    """From the values of the label column to labels; empty: they are labels already."""
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


class PrepareConfig(Division):
    """Keys of [prepare]."""

    sources: tuple[Source, ...] = Field(default=(), min_length=1)
    """The sources; a single one can be given by the four keys below instead."""
    input: str | None = Field(default=None, exclude=True)
    """The only source: a file, a directory or a glob."""
    format: Format | None = Field(default=None, exclude=True)
    """Format of --input: auto, parquet, csv, tsv, jsonl or chat."""
    text_column: str | None = Field(default=None, exclude=True)
    """Column of --input that holds the review."""
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
            for value, label in source.label_map.items():
                if label not in self.labels:
                    raise ValueError(
                        f"label_map of {source.path!r} maps {value!r} to {label!r}, which is not in labels "
                        f"({', '.join(self.labels)}). Correct one of them."
                    )
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
    def _shares_leave_a_training_set(self) -> "PrepareConfig":
        if self.validation_share + self.test_share >= 1:
            raise ValueError(
                f"validation_share {self.validation_share} and test_share {self.test_share} leave nothing to train on."
            )
        return self

"""The keys of [prepare]: which sources hold the reviews and how they are split; reads no data."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from sentiment_ray.config import Names, StageConfig
from sentiment_ray.data.checks.limits import Limits
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


class PrepareConfig(StageConfig):
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
    check: bool = False
    """Run the checks only: write report.html and report.json; 3 is the exit code when [prepare.limits] are crossed."""
    report_samples: bool = True
    """Show texts of accepted rows in report.html."""
    against: Names = ()
    """External test sets that no row should come from: files, directories or globs."""
    against_text_column: str | None = None
    """Column of `against` that holds the text; by default the text_column of the first source."""
    near_duplicates: bool = True
    """Look for texts that are nearly equal once links, @handles and RT are masked."""
    near_duplicate_threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Jaccard similarity of their word pairs from which two texts are near duplicates."""
    near_duplicate_rows: Annotated[int, Field(ge=1)] = 200_000
    """Rows that are compared at most; of more, a part that is chosen by hash."""
    keep_together: bool = False
    """Put all rows of a cluster of near duplicates into one split."""
    model: str | None = None
    """Directory of the base encoder: counts its tokens and looks for wrong labels with it."""
    max_tokens: Annotated[int, Field(ge=3)] = 128
    """Tokens beyond which `model` cuts a text."""
    suspect_rows: Annotated[int, Field(ge=1)] = 5000
    """Rows among which wrong labels are looked for, chosen by hash."""
    language: str | None = None
    """Language that the reviews should have, such as en; not looked at unless set."""
    limits: Limits = Limits()
    """What --check refuses: shares, in a section [prepare.limits]."""

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
    def _checks_can_be_run(self) -> "PrepareConfig":
        for limit, key in self.limits.needing().items():
            if not getattr(self, key):
                raise ValueError(f"limits.{limit} is set, but its check is not run without {key}. Set {key} as well.")
        if self.keep_together and not self.near_duplicates:
            raise ValueError("keep_together needs near_duplicates. Leave near_duplicates = false out.")
        return self

    @model_validator(mode="after")
    def _shares_leave_a_training_set(self) -> "PrepareConfig":
        if self.validation_share + self.test_share >= 1:
            raise ValueError(
                f"validation_share {self.validation_share} and test_share {self.test_share} leave nothing to train on."
            )
        return self

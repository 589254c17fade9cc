"""The keys of [[prepare.sources]]: where reviews are read from, and how their labels are mapped; reads no data."""

from itertools import pairwise
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sentiment_ray.config.sections import Names

Format = Literal["auto", "parquet", "csv", "tsv", "jsonl", "chat"]


def _with_text_keys(value: Any) -> Any:
    return {str(key): label for key, label in value.items()} if isinstance(value, dict) else value


class Source(BaseModel):
    """One source of reviews: a file, a directory or a glob, with its own columns and labels."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    path: str
    """File, directory or glob."""
    name: str = ""
    """Name of the source in counts and ids. Default: the name of the file or directory, without its ending."""
    format: Format = "auto"
    """parquet, csv, tsv, jsonl or chat. auto goes by the file's ending; chat must be named."""
    text_column: Annotated[Names, Field(min_length=1)] = ("text",)
    """Column that holds the review. The texts of several, as in ["title", "body"], are joined by line breaks."""
    label_column: str = "label"
    """Column that holds the label."""
    id_column: str | None = None
    """Column that identifies a row. Default: the source's name, the file's path and the row's number."""
    label_map: Annotated[dict[str, str], BeforeValidator(_with_text_keys)] = {}
    """Maps values of the label column to labels. Leave it out if the column holds the labels themselves."""
    stars: dict[str, tuple[float, ...]] = {}
    """Maps ratings to labels: { negative = [1, 2], neutral = [3], positive = [4, 5] }."""
    cut_points: tuple[float, ...] = ()
    """Splits a numeric grade into labels: with [2.5, 3.5], the first label is below 2.5, the third starts at 3.5."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the source to use, selected by a hash of the text. The other rows are counted as left_out."""
    split: Literal["auto", "train", "validation", "test"] = "auto"
    """Puts the whole source into one split. auto splits its rows like those of other sources."""
    group_column: str | None = None
    """Column that names a row's group, if it is not the group_column of [prepare]. A source that is put into one split
    has no groups unless this key is set."""
    time_column: str | None = None
    """Column that holds the time of a row, if it is not the time_column of [prepare]."""

    @property
    def split_column(self) -> str | None:
        """The column whose value decides on a row's split; None if the text decides."""
        return self.group_column or self.time_column

    @property
    def required_column(self) -> str | None:
        """The column of readers.rows.SCHEMA that every row must have a value in: group or time; None for neither."""
        if self.split != "auto" or not self.split_column:
            return None
        return "group" if self.group_column else "time"

    @property
    def label_mapping(self) -> dict[str, str]:
        """The mapping from raw values to labels, from label_map or stars; empty if neither is set."""
        from_stars = {f"{rating:g}": label for label, ratings in self.stars.items() for rating in ratings}
        return self.label_map or from_stars

    @property
    def columns(self) -> list[str]:
        """The names of the columns to read, without duplicates."""
        names = (self.id_column, *self.text_column, self.label_column, self.split_column)
        return list(dict.fromkeys(name for name in names if name))


def check_source_labels(source: Source, labels: tuple[str, ...]) -> None:
    """Raise ValueError unless the source has at most one label mapping and it leads to `labels`."""
    given = [key for key in ("label_map", "stars", "cut_points") if getattr(source, key)]
    if len(given) > 1:
        raise ValueError(f"{source.path!r} sets both {given[0]} and {given[1]}. Keep one of them.")
    ratings = [rating for ratings in source.stars.values() for rating in ratings]
    if len(set(ratings)) < len(ratings):
        raise ValueError(f"stars of {source.path!r} names a rating twice. Name each rating once.")
    for value, label in source.label_mapping.items():
        if label not in labels:
            raise ValueError(
                f"{'stars' if source.stars else 'label_map'} of {source.path!r} maps {value!r} to {label!r}, which is "
                f"not in labels ({', '.join(labels)}). Correct one of them."
            )
    _check_cut_points(source, labels)


def _check_cut_points(source: Source, labels: tuple[str, ...]) -> None:
    points = source.cut_points
    if not all(map(isfinite, points)) or any(low >= high for low, high in pairwise(points)):
        raise ValueError(f"cut_points of {source.path!r} must rise from one to the next (found: {list(points)}).")
    if points and len(points) != len(labels) - 1:
        raise ValueError(
            f"cut_points of {source.path!r} must have {len(labels) - 1} values for {len(labels)} labels "
            f"(found: {len(points)}). Correct one of them."
        )

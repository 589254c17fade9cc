"""The keys of [[prepare.sources]]: where reviews are read from, and how their labels are mapped; reads no data."""

import re
import shlex
from collections.abc import Mapping
from itertools import pairwise
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from sentiment_ray.config.sections import Names, is_unset
from sentiment_ray.data.text_format import TextFormat

USUAL_STARS: Mapping[str, tuple[float, ...]] = {"negative": (1.0, 2.0), "neutral": (3.0,), "positive": (4.0, 5.0)}
STARS_OF_LABEL = re.compile(r"([^=]+)=([-+.\d\s,]*)")
"""A label and its ratings in the text of --stars."""


def _parse_label_map(value: Any) -> Any:
    """Return a label_map with texts as keys, from a table or from the text of a flag: pos=positive,neg=negative."""
    if isinstance(value, Mapping):
        return {str(key): label for key, label in value.items()}
    if not isinstance(value, str):
        return value
    pairs = [[part.strip() for part in pair.rpartition("=")] for pair in value.split(",")]
    if not all(raw and label for raw, _, label in pairs):
        raise ValueError("write each value with its label, as in --label-map pos=positive,neg=negative")
    return {raw: label for raw, _, label in pairs}


def _parse_stars(value: Any) -> Any:
    """Return the ratings of each label from the text of --stars: negative=1,2 neutral=3 positive=4,5."""
    if not isinstance(value, str) or value == "usual":
        return value
    stars = {label.strip(" ,;"): ratings.replace(",", " ").split() for label, ratings in STARS_OF_LABEL.findall(value)}
    if not stars or not all(stars.values()) or STARS_OF_LABEL.sub("", value).strip():
        raise ValueError("write each label with its ratings, as in --stars 'negative=1,2 neutral=3 positive=4,5'")
    return stars


def _split_numbers(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


class Source(TextFormat):
    """One source of reviews: a file, a directory or a glob, with its own columns and labels."""

    path: str
    """File, directory or glob."""
    name: str = ""
    """Name of the source in counts and ids. Default: the name of the file or directory, without its ending."""
    text_column: Annotated[Names, Field(min_length=1)] = ("text",)
    """Column that holds the review. The texts of several, as in ["title", "body"], are joined by line breaks."""
    label_column: str = "label"
    """Column that holds the label."""
    id_column: str | None = None
    """Column that identifies a row. Default: the source's name, the file's path and the row's number."""
    label_map: Annotated[dict[str, str], BeforeValidator(_parse_label_map)] = {}
    """Maps values of the label column to labels. Leave it out if the column holds the labels themselves."""
    stars: Annotated[dict[str, tuple[float, ...]] | Literal["usual"], BeforeValidator(_parse_stars)] = {}
    """Maps ratings to labels: { negative = [1, 2], neutral = [3], positive = [4, 5] }. "usual" is this table or, with
    the labels negative and positive alone, the table without 3, whose rows are then left out."""
    cut_points: Annotated[tuple[float, ...], BeforeValidator(_split_numbers)] = ()
    """Splits a numeric grade into labels: with [2.5, 3.5], the first label is below 2.5, the third starts at 3.5."""
    leave_out: Names = Field(default=(), exclude_if=is_unset)
    """Values of the label column whose rows are left out. They are counted as left_out, not as defective."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the source to use, selected by a hash of the text. The other rows are counted as left_out."""
    split: Literal["auto", "train", "validation", "test"] = "auto"
    """Puts the whole source into one split. auto splits its rows like those of other sources."""
    group_column: str | None = None
    """Column that names a row's group, if it is not the group_column of [prepare]. A source that is put into one split
    has no groups unless this key is set."""
    time_column: str | None = None
    """Column that holds the time of a row, if it is not the time_column of [prepare]."""

    @field_validator("leave_out", mode="before")
    @classmethod
    def _write_as_texts(cls, values: Any) -> Any:
        return [str(value) for value in values] if isinstance(values, list | tuple) else values

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
        stars = {} if self.stars == "usual" else self.stars
        return self.label_map or {f"{rating:g}": label for label, ratings in stars.items() for rating in ratings}

    @property
    def columns(self) -> list[str]:
        """The names of the columns to read, without duplicates."""
        names = (self.id_column, *self.text_column, self.label_column, self.split_column)
        return list(dict.fromkeys(name for name in names if name))


def resolve_usual_stars(source: Source, labels: tuple[str, ...]) -> Source:
    """Return the source with the table that `stars = "usual"` stands for, if the labels have a usual table."""
    by_name = {label.casefold(): label for label in labels}
    if source.stars != "usual" or by_name.keys() not in (USUAL_STARS.keys(), USUAL_STARS.keys() - {"neutral"}):
        return source
    stars = {label: USUAL_STARS[name] for name, label in by_name.items()}
    left_out = tuple(f"{rating:g}" for name in USUAL_STARS.keys() - by_name.keys() for rating in USUAL_STARS[name])
    return source.model_copy(update={"stars": stars, "leave_out": (*source.leave_out, *left_out)})


def check_source_labels(source: Source, labels: tuple[str, ...]) -> None:
    """Raise ValueError unless the source has at most one label mapping and it leads to `labels`."""
    given = [key for key in ("label_map", "stars", "cut_points") if getattr(source, key)]
    if len(given) > 1:
        raise ValueError(f"{source.path!r} sets both {given[0]} and {given[1]}. Keep one of them.")
    if source.stars == "usual":
        example = " ".join(f"{label}={rating}" for rating, label in enumerate(labels, start=1))
        raise ValueError(
            f"the labels {', '.join(labels)} have no usual stars. Name the ratings of each label, as in "
            f"--stars {shlex.quote(example)}"
        )
    ratings = [rating for ratings in source.stars.values() for rating in ratings]
    if len(set(ratings)) < len(ratings):
        raise ValueError(f"stars of {source.path!r} names a rating twice. Name each rating once.")
    for value, label in source.label_mapping.items():
        if label not in labels:
            raise ValueError(
                f"{'stars' if source.stars else 'label_map'} of {source.path!r} maps {value!r} to {label!r}, which is "
                f"not in labels ({', '.join(labels)}). Correct one of them."
            )
    for value in source.leave_out:
        if value in source.label_mapping:
            raise ValueError(f"leave_out of {source.path!r} names {value!r}, which has a label. Remove one of them.")
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

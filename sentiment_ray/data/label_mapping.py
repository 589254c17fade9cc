"""Maps the raw values of a label column to labels, by the keys of a source; knows no rows and no files."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

from sentiment_ray.column_names import strip_blanks
from sentiment_ray.data.source_config import Source

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
STARS = "stars?|sterne?n?|étoiles?|estrellas?|stelle|stella|sterren|ster|estrelas?|gwiazdki|stjärnor"
RATING = re.compile(
    r"(?:(?:star )?(?:rating|rated|score)\s*:?\s*|5つ星のうち\s*)?"
    r"(\d(?:\.\d+|,\d{1,2})?)\s*(?:(?:/|out of|von|sur|de|su|van|z|av)\s*5(?:[.,]0+)?)?"
    rf"(?:\s*-?\s*(?:{STARS}))?",
    re.ASCII | re.IGNORECASE,
)
"""A rating out of five as shops write it: 4, 4.0, 4/5, 4 stars, 4-star, 4.0 out of 5 stars, 4,0 von 5 Sternen."""
DRAWN_STARS = re.compile("([★⭐🌟]*|[*]{1,5})(½?)[☆✩]*")
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five")
EMOJI_STYLE = "\ufe0f"
"""An invisible character that phones write behind a star."""


def map_labels(values: Iterable[str], source: Source, labels: Sequence[str]) -> list[str | None]:
    """Return the label of each raw value, by the label_map, stars or cut_points of the source; None if it has none."""
    if source.cut_points:
        return [map_grade(value, labels, source.cut_points) for value in values]
    if source.stars:
        values = [_rewrite_rating(value) for value in values]
    return [map_label(value, labels, source.label_mapping) for value in values]


def map_label(value: str, labels: Sequence[str], label_map: Mapping[str, str]) -> str | None:
    """Return the label that a raw value stands for, by `label_map` if it is not empty; None if there is no such label.

    The exact spelling is tried first, then a spelling in another case, with spaces around it, or of the same number
    (1.0 for 1).
    """
    mapped = _look_up(value, label_map) if label_map else value
    return None if mapped is None else _look_up(mapped, {label: label for label in labels})


def map_grade(value: str, labels: Sequence[str], cut_points: Sequence[float]) -> str | None:
    """Return the label of a numeric grade: the first label below the first cut point; None if it is not a finite
    number."""
    grade = parse_number(value)
    return None if grade is None else labels[bisect_right(cut_points, grade)]


def select_left_out(values: Iterable[str], source: Source) -> set[str]:
    """Return the raw values that `leave_out` names, in any spelling."""
    names = {_normalise_label(name) for name in source.leave_out}
    if not names:
        return set()
    return {value for value in values if _normalise_label(_rewrite_rating(value) if source.stars else value) in names}


def parse_number(value: str) -> float | None:
    """Return a finite number, or None."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if isfinite(number) else None


def parse_rating(value: str) -> float | None:
    """Return a number, or the rating that a text gives out of five, as in 4/5, 4 stars and ★★★★☆; None for others."""
    value = strip_blanks(value.replace(EMOJI_STYLE, ""))
    drawn = DRAWN_STARS.fullmatch(value)
    if drawn and value:
        return len(drawn[1]) + len(drawn[2]) / 2
    word, blank, rest = value.replace("-", " ", 1).partition(" ")
    if blank and word.lower() in NUMBER_WORDS:
        value = f"{NUMBER_WORDS.index(word.lower())} {rest}"
    written = RATING.fullmatch(value)
    return float(written[1].replace(",", ".")) if written else parse_number(value)


def _rewrite_rating(value: str) -> str:
    rating = parse_rating(value)
    return value if rating is None else f"{rating:g}"


def _look_up(value: str, known: Mapping[str, str]) -> str | None:
    if value in known:
        return known[value]
    matches = {label for name, label in known.items() if _normalise_label(name) == _normalise_label(value)}
    return matches.pop() if len(matches) == 1 else None


def _normalise_label(value: str) -> str | float:
    """Return the form in which two spellings of one label are equal: the number, or the case-folded text."""
    value = strip_blanks(value)
    return float(value) if NUMBER.fullmatch(value) else value.casefold()

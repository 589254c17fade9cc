"""Recognises how a label column is written, and names the flags that read it; knows distinct values, no rows."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sentiment_ray.data.label_mapping import map_labels, parse_number, parse_rating, select_left_out
from sentiment_ray.data.source_config import Source
from sentiment_ray.labels import DEFAULT_LABELS

MAX_LABELS = 20
"""Number of distinct values from which a column probably holds no labels."""
OTHER_LABELS = ""
"""Stands for the values that are too long for a message, or too many."""
MAX_QUOTED_VALUES = 6
WORDS = {
    "negative": "negative neg n bad negativ negativo negativa négatif négative negatif negatief negatywny negatywna "
    "negativní negativa negativne olumsuz отрицательный отрицательная негативный негативная negatív negatiivinen "
    "负面 消极 負面 消極 ネガティブ 부정 سلبي נגטיבי नकारात्मक",
    "neutral": "neutral neu neutro neutra neutre neutraal neutrale netral neutralny neutralna neutrální nötr "
    "нейтральный нейтральная semleges neutraali 中性 中立 ニュートラル 중립 محايد ניטרלי तटस्थ",
    "positive": "positive pos p good positiv positivo positiva positif positive positief pozytywny pozytywna "
    "pozitivní pozitif olumlu положительный положительная позитивный позитивная pozitív positiivinen "
    "正面 积极 積極 ポジティブ 긍정 إيجابي חיובי सकारात्मक",
}
"""How data sets write the three sentiments, in small letters."""
LABEL_OF_WORD = {word: label for label, words in WORDS.items() for word in words.split()}
SIGNS = {
    "negative": "- 👎 🙁 ☹ 😞 😡", "neutral": "😐 🤷", "positive": "+ 👍 🙂 😀 😊 😍"
}  # fmt: skip
LABEL_OF_SIGN = {sign: label for label, signs in SIGNS.items() for sign in signs.split()}
DEGREE = re.compile(r"\b(very|extremely|strongly|slightly|somewhat|mostly|weakly|sentiment|label|class)\b")
INDEXED_LABEL = re.compile(r"_*(?:label|class)[_ -]*(\d)", re.IGNORECASE)
OTHER_SCALE = re.compile(r"\d+(?:\.\d+)?\s*(?:/\s*\d+|%)")
BY_NUMBER: tuple[tuple[frozenset[float], dict[float, str]], ...] = (
    (frozenset({0, 1}), {0: "negative", 1: "positive"}),
    (frozenset({1, 2}), {1: "negative", 2: "positive"}),
    (frozenset({-1, 1}), {-1: "negative", 1: "positive"}),
    (frozenset({0, 4}), {0: "negative", 4: "positive"}),
    (frozenset({-1, 0, 1}), {-1: "negative", 0: "neutral", 1: "positive"}),
    (frozenset({0, 1, 2}), {0: "negative", 1: "neutral", 2: "positive"}),
    (frozenset({0, 2, 4}), {0: "negative", 2: "neutral", 4: "positive"}),
)
"""Sets of numbers that data sets use for sentiments, and what they stand for."""
RATING_SCALES = (
    (frozenset({1, 2, 3, 4, 5}), "ratings from 1 to 5", "usual"),
    (frozenset({0, 1, 2, 3, 4}), "ratings from 0 to 4", "negative=0,1 neutral=2 positive=3,4"),
    (frozenset({0, 1, 2, 3, 4, 5}), "ratings from 0 to 5", "negative=0,1,2 neutral=3 positive=4,5"),
)
GRADE_SCALES = (
    (0, 1, "scores from 0 to 1", "0.4,0.6", "0.5"),
    (-1, 1, "scores from -1 to 1", "-0.05,0.05", "0"),
    (0, 5, "ratings with fractions", "2.5,3.5", "3"),
    (0, 10, "ratings from 1 to 10", "5,7", "5.5"),
    (0, 100, "grades from 0 to 100", "40,60", "50"),
)
"""The lowest and the highest grade, their name, and usual cut points for three labels and for two."""


@dataclass(frozen=True)
class LabelAdvice:
    """What a label column holds, and the flags that read it; `flags` is empty if only a person can say."""

    description: str
    flags: tuple[tuple[str, str], ...] = ()

    def to_text(self, column: str) -> str:
        """Return one or two sentences for people."""
        sentence = f"The column {column!r} holds {self.description}."
        if not self.flags:
            return sentence
        flags = " ".join(f"{flag} {shlex.quote(value)}".rstrip() if value else flag for flag, value in self.flags)
        keys = ", ".join(flag.removeprefix("--").replace("-", "_") for flag, _ in self.flags)
        return f"{sentence} Pass {flags}, or set {keys} in the file for --config."


def advise_on_labels(values: Sequence[str], source: Source, labels: Sequence[str]) -> LabelAdvice | None:
    """Return what the distinct values of a label column are, and the flags that read them; None if all are read.

    OTHER_LABELS stands for the values that no message may show.
    """
    if OTHER_LABELS in values:
        return LabelAdvice(
            "texts that may be reviews, or many different values. Name the column of labels: --label-column"
        )
    values = sorted(set(values))
    left_out = select_left_out(values, source)
    mapped = dict(zip(values, map_labels(values, source, labels), strict=True))
    unknown = [value for value in values if not mapped[value] and value not in left_out]
    if not unknown:
        return None
    has_other_scale = all(OTHER_SCALE.fullmatch(value.strip()) for value in values)
    if len(unknown) > MAX_LABELS and not _list_numbers(unknown) and not has_other_scale:
        return LabelAdvice(f"more than {MAX_LABELS} different values. Name the column of labels: --label-column")
    if source.label_map or (source.stars and not _list_numbers(values)) or source.cut_points:
        description = f"values without a label: {_quote(unknown)}"
        if source.stars and all(parse_rating(value) is not None for value in values):
            return LabelAdvice(f"ratings with fractions ({_quote(values)}). Write them as numbers to use --cut-points")
        return _leave_out(unknown, description) if len(unknown) < len(values) else LabelAdvice(description)
    if not {label.casefold() for label in labels} & {*DEFAULT_LABELS}:
        return LabelAdvice(
            f"{_quote(unknown)}, but the labels are {', '.join(labels)}. Change --labels, or map each value to a label "
            "with --label-map"
        )
    numbers = _list_numbers(values)
    if numbers:
        return _advise_on_numbers(numbers, labels)
    if all(parse_rating(value) is not None for value in values):
        return LabelAdvice(f"ratings ({_quote(values)})", (("--stars", ""),))
    if has_other_scale:
        return LabelAdvice(f"ratings such as {values[0]!r}. Write them as numbers to use --cut-points")
    return _advise_on_words(values, unknown, labels)


def _advise_on_numbers(numbers: Mapping[float, str], labels: Sequence[str]) -> LabelAdvice:
    """`numbers` maps each number to the way it is written."""
    found = numbers.keys()
    for members, meaning in BY_NUMBER:
        if found == members:
            return _map_values({numbers[number]: label for number, label in meaning.items()}, labels, "numbers")
    for members, name, stars in RATING_SCALES:
        if found <= members:
            return LabelAdvice(name, _flags_of_stars(stars, labels))
    low, high = min(found), max(found)
    for lowest, highest, name, of_three, of_two in GRADE_SCALES:
        if lowest <= low and high <= highest:
            points = {3: of_three, 2: of_two}.get(len(labels))
            return LabelAdvice(name, (("--cut-points", points),) if points else ())
    return LabelAdvice(f"numbers from {low:g} to {high:g}. Pass --cut-points with the numbers where labels change")


def _flags_of_stars(stars: str, labels: Sequence[str]) -> tuple[tuple[str, str], ...]:
    names = {label.casefold() for label in labels}
    if stars == "usual":
        return (("--stars", ""),) if names in ({*DEFAULT_LABELS}, {"negative", "positive"}) else ()
    if names == {*DEFAULT_LABELS}:
        return (("--stars", stars),)
    parts = [part.partition("=") for part in stars.split()]
    kept = " ".join("".join(part) for part in parts if part[0] in names)
    return (("--stars", kept), ("--leave-out", ",".join(part[2] for part in parts if part[0] not in names)))


def _advise_on_words(values: Sequence[str], unknown: Sequence[str], labels: Sequence[str]) -> LabelAdvice:
    indexes = {value: INDEXED_LABEL.fullmatch(value.strip()) for value in values}
    if all(indexes.values()):
        numbers = {float(match[1]): value for value, match in indexes.items() if match}
        meaning = next((meaning for members, meaning in BY_NUMBER if numbers.keys() == members), None)
        if meaning:
            return _map_values({numbers[number]: label for number, label in meaning.items()}, labels, "labels")
    recognised = {value: LABEL_OF_SIGN.get(value) or LABEL_OF_WORD.get(_normalise_word(value)) for value in values}
    names = {label.casefold() for label in labels}
    has_several = len(set(recognised.values()) - {None}) > 1
    if has_several and any(recognised[value] in names for value in unknown):
        return _map_values(recognised, labels, "labels")
    if len(unknown) < len(values):
        return _leave_out(unknown, f"values that are not in labels: {_quote(unknown)}")
    return LabelAdvice(_quote(values), (("--labels", ",".join(values)),) if _is_plain(values) else ())


def _map_values(meaning: Mapping[str, str | None], labels: Sequence[str], noun: str) -> LabelAdvice:
    """Return the flags for a label_map. A value without a label is left out."""
    by_name = {label.casefold(): label for label in labels}
    used = {label for label in meaning.values() if label}
    has_default_labels = by_name.keys() == {*DEFAULT_LABELS}
    if has_default_labels and used != {*DEFAULT_LABELS}:
        by_name = {name: label for name, label in by_name.items() if name in used}
        labels_flag = [("--labels", ",".join(by_name.values()))]
    else:
        labels_flag = []
    label_map = {value: by_name[label] for value, label in meaning.items() if label in by_name}
    rest = [value for value, label in meaning.items() if label not in by_name]
    description = f"the {noun} {_quote(list(meaning))}"
    if not _is_plain(meaning) or not label_map:
        return LabelAdvice(f"{description}. Set label_map in the file for --config")
    flags = [*labels_flag, ("--label-map", ",".join(f"{value}={label}" for value, label in label_map.items()))]
    return LabelAdvice(description, (*flags, *([("--leave-out", ",".join(rest))] if rest else [])))


def _leave_out(values: Sequence[str], description: str) -> LabelAdvice:
    return LabelAdvice(description, (("--leave-out", ",".join(values)),) if _is_plain(values) else ())


def _list_numbers(values: Sequence[str]) -> dict[float, str]:
    """Return how each number is written; nothing if a value is no number."""
    numbers: dict[float, str] = {}
    for value in values:
        number = parse_number(value)
        if number is None:
            return {}
        numbers[number] = value
    return numbers


def _normalise_word(value: str) -> str:
    return DEGREE.sub("", re.sub(r"[\W_]+", " ", value.casefold())).strip()


def _is_plain(values: Sequence[str] | Mapping[str, str | None]) -> bool:
    """Whether values can be written between commas in a flag."""
    return all(value.strip() == value and not {",", "="} & set(value) for value in values)


def _quote(values: Sequence[str]) -> str:
    shown = ", ".join(repr(value) for value in values[:MAX_QUOTED_VALUES])
    return f"{shown}, …" if len(values) > MAX_QUOTED_VALUES else shown

"""Operations on training texts: what they do, that they are drawn alike each time, and that no negation is touched."""

import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment_ray.data.augmentation import NEGATIONS, OPERATIONS, altered

PIECES = (
    "good",
    "The",
    "a",
    "wonderful",
    "Straße",
    "не",
    "фильм",
    "不错不好看",
    "كتاب جميل",
    "isn't",
    "won\u2019t",
    "!",
    "4.5/5",
)


@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(st.sampled_from([*PIECES, *sorted(NEGATIONS), "NOT", "Never"]), max_size=12),
    name=st.sampled_from(sorted(OPERATIONS)),
    seed=st.integers(0, 1000),
)
def test_negations_numbers_and_marks_are_never_touched(words: list[str], name: str, seed: int) -> None:
    text = " ".join(words)
    found = OPERATIONS[name](text, Random(seed)).lower()
    kept = [
        word for word in words if word.lower() in NEGATIONS or not word.isalpha() or re.search("[\u0600-\u9fff]", word)
    ]
    place = 0
    for word in kept:
        place = found.index(word.lower(), place) + len(word)
    if name != "drop_article":
        assert len(found.split()) == len(text.split())


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("typo", "A good day", {"A godo day", "A good day"}),
        ("typo", "bad, not", {"bad, not"}),
        ("repeat_letter", "it is good", {"it is goood", "it is gooood", "it is goooood"}),
        ("lower_case", "It is GREAT, isn't it?", {"it is great, isn't it?"}),
        ("drop_article", "The end of a film", {"end of a film", "The end of film"}),
        ("drop_article", "Plan A", {"Plan A"}),
    ],
)
def test_operations(name: str, text: str, expected: set[str]) -> None:
    assert {OPERATIONS[name](text, Random(seed)) for seed in range(40)} <= expected


def test_an_altered_text_is_another_one_drawn_alike_each_time_or_none() -> None:
    text = "The music was wonderful"
    found = [altered(text, tuple(OPERATIONS), Random(seed)) for seed in range(60)]
    assert found == [altered(text, tuple(OPERATIONS), Random(seed)) for seed in range(60)]
    assert len(set(found)) > 10
    assert text not in found
    assert altered("not 4/5", tuple(OPERATIONS), Random(0)) is None
    assert altered("the ", ("drop_article",), Random(0)) is None

"""The operations on training texts: what they change, and that they never change a negation."""

import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment_ray.data.augmentation import NEGATIONS, OPERATIONS, alter_text

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
def test_negations_numbers_and_punctuation_are_never_changed(words: list[str], name: str, seed: int) -> None:
    text = " ".join(words)
    actual = OPERATIONS[name](text, Random(seed)).lower()
    kept = [
        word for word in words if word.lower() in NEGATIONS or not word.isalpha() or re.search("[\u0600-\u9fff]", word)
    ]
    index = 0
    for word in kept:
        index = actual.index(word.lower(), index) + len(word)
    if name != "drop_article":
        assert len(actual.split()) == len(text.split())


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


def test_an_altered_text_is_new_and_depends_on_the_seed_alone() -> None:
    text = "The music was wonderful"
    actual = [alter_text(text, tuple(OPERATIONS), Random(seed)) for seed in range(60)]
    assert actual == [alter_text(text, tuple(OPERATIONS), Random(seed)) for seed in range(60)]
    assert len(set(actual)) > 10
    assert text not in actual
    assert alter_text("not 4/5", tuple(OPERATIONS), Random(0)) is None
    assert alter_text("the ", ("drop_article",), Random(0)) is None

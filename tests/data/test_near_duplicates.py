"""Near duplicates: which texts are nearly equal, and that a cluster depends on its own texts alone."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment_ray.data.near_duplicates import (
    compute_signatures,
    find_clusters,
    find_most_similar,
    hash_words,
    split_masked_words,
)

REVIEW = (
    "the battery of this phone lasts two days and the camera takes sharp pictures even at night but the speaker is "
    "quiet and the case scratches easily so handle it with care"
)


def cluster_texts(*texts: str, threshold: float = 0.8) -> list[int]:
    words = split_masked_words(pa.array(texts))
    return find_clusters(hash_words(words), compute_signatures(words), threshold=threshold).tolist()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("RT @ann: What a day! http://t.co/x1", "what a day"),
        ("@bob what a day https://example.org/a?b=c", "What a day!!"),
        ("What   a\u00a0day", "what a day."),
        ("www.shop.example great shoes", "great shoes"),
        ("\uff27\uff32\uff25\uff21\uff34 shoes", "great shoes"),
        ("とても良い", "とても良い!"),
    ],
)
def test_links_handles_case_and_punctuation_do_not_count(first: str, second: str) -> None:
    assert np.unique(hash_words(split_masked_words(pa.array([first, second])))).size == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [("not good", "good"), ("it is not good", "it is good"), ("start here", "art here"), ("とても良い", "とても悪い")],
)
def test_words_that_change_the_meaning_count(first: str, second: str) -> None:
    assert np.unique(hash_words(split_masked_words(pa.array([first, second])))).size == 2
    assert len(set(cluster_texts(first, second))) == 2


def test_a_long_text_with_a_changed_word_is_near_and_another_text_is_not() -> None:
    changed = REVIEW.replace("sharp", "crisp")
    clusters = cluster_texts(
        REVIEW, "nothing of the kind was ever said about this phone", changed, REVIEW[: len(REVIEW) // 2]
    )
    assert clusters[0] == clusters[2]
    assert len(set(clusters)) == 3


def test_the_signature_estimates_the_jaccard_similarity() -> None:
    words = [[f"w{number}" for number in range(start, start + 200)] for start in (0, 50)]
    first, second = compute_signatures(words)
    assert abs((first == second).mean() - 149 / (2 * 201 - 149)) < 0.12


def test_many_texts_of_one_template_are_one_cluster() -> None:
    clusters = cluster_texts(*(f"{REVIEW} order number {number}" for number in range(400)), threshold=0.8)
    assert set(clusters) == {clusters[0]}


def test_the_most_similar_text_of_a_test_set_is_found() -> None:
    held_out = split_masked_words(pa.array(["something else entirely, in many words", f"RT @eve {REVIEW}!"]))
    texts = split_masked_words(pa.array([REVIEW + " always", "short and new"]))
    index = find_most_similar(compute_signatures(texts), compute_signatures(held_out), threshold=0.8)
    assert index.tolist() == [1, -1]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.lists(st.integers(100, 140), max_size=6))
def test_texts_that_join_no_cluster_change_none(old: list[int], new: list[int]) -> None:
    texts = [f"{REVIEW} {' '.join(['again'] * (number % 7))} {number // 7}" for number in old]
    others = [f"opinion {number} of somebody else about the soup in place {number}" for number in new]
    before, after = cluster_texts(*texts), cluster_texts(*texts, *others)
    pairs = [
        [first == second for first in clusters for second in clusters] for clusters in (before, after[: len(texts)])
    ]
    assert pairs[0] == pairs[1]
    assert not set(after[: len(texts)]) & set(after[len(texts) :])

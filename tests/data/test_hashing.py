"""Hashes of texts depend on the normalised text and the seed alone, and so do buckets, samples and splits."""

import numpy as np
import pytest

from sentiment_ray.data.hashing import assign_buckets, hash_texts, normalise, select_sample
from sentiment_ray.data.split import TEST, TRAIN, VALIDATION, split_by_hash

TEXTS = [f"review number {number}" for number in range(4000)]
SHARES = {"validation_share": 0.1, "test_share": 0.2}


@pytest.mark.parametrize(
    "variant",
    ["A fine day", "  a  FINE\tday\n", "a fine\u00a0day", "\uff21 fine day", "a \ufb01ne day", "A\u2003fine day"],
    ids=["itself", "spaces and case", "no-break space", "full width", "ligature", "em space"],
)
def test_variants_of_a_text_have_one_hash(variant: str) -> None:
    assert normalise(variant) == "a fine day"
    assert (hash_texts([variant], seed=0) == hash_texts(["a fine day"], seed=0)).all()


def test_accents_punctuation_and_emoji_change_the_hash() -> None:
    texts = ["resume", "résumé", "resume!", "resume 🙂", ""]
    assert len({row.tobytes() for row in hash_texts(texts, seed=0)}) == len(texts)


def test_hashes_are_the_same_on_every_machine() -> None:
    assert hash_texts(["A fine day"], seed=0).tobytes().hex() == "b6ce6aea3e4f7bc3d055d871e7ece377"


def test_splits_have_their_shares_and_do_not_depend_on_other_texts() -> None:
    splits = split_by_hash(hash_texts(TEXTS, seed=0), **SHARES)
    shares = np.bincount(splits, minlength=3) / len(TEXTS)
    assert shares[[TRAIN, VALIDATION, TEST]] == pytest.approx([0.7, 0.1, 0.2], abs=0.02)
    assert (split_by_hash(hash_texts(TEXTS[100:200], seed=0), **SHARES) == splits[100:200]).all()


def test_another_seed_gives_other_splits() -> None:
    one, other = (split_by_hash(hash_texts(TEXTS, seed=seed), **SHARES) for seed in (0, 1))
    assert 0.3 < (one != other).mean() < 0.6


def test_split_bucket_and_sample_are_independent() -> None:
    hashes = hash_texts(TEXTS, seed=0)
    splits = split_by_hash(hashes, **SHARES)
    buckets, in_sample = assign_buckets(hashes, 4), select_sample(hashes, 0.5)
    for chosen in (buckets == 0, in_sample):
        assert (splits[chosen] == TRAIN).mean() == pytest.approx(0.7, abs=0.04)
    assert in_sample[buckets == 0].mean() == pytest.approx(0.5, abs=0.05)


def test_a_larger_sample_contains_a_smaller_one_and_a_full_sample_contains_all() -> None:
    hashes = hash_texts(TEXTS, seed=0)
    small, large = select_sample(hashes, 0.2), select_sample(hashes, 0.6)
    assert small.mean() == pytest.approx(0.2, abs=0.02)
    assert not (small & ~large).any()
    assert select_sample(hashes, 1.0).all()


def test_no_texts_give_no_hashes() -> None:
    assert hash_texts([], seed=0).shape == (0, 4)

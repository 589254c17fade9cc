"""Two bundles are compared row by row, as McNemar and scikit-learn do."""

import numpy as np
import pytest
from hand_scored import random_scored, scored_from
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from sentiment_ray.evaluate.comparison import comparison_of, mcnemar_p
from sentiment_ray.evaluate.examples import flipped
from sentiment_ray.evaluate.scored import Scored


def _ruined(scored: Scored, share: float) -> Scored:
    """The same rows with a share of the answers replaced by the next label."""
    moved = np.arange(scored.num_rows) < share * scored.num_rows
    return scored_from(
        np.where(moved[:, None], np.roll(scored.logits, 1, axis=1), scored.logits), scored.label_ids, scored.labels
    )


def test_mcnemar_is_the_binomial_test_of_the_rows_that_one_alone_got_right() -> None:
    assert mcnemar_p(3, 12) == pytest.approx(binomtest(3, 15).pvalue)
    assert mcnemar_p(3, 12) == pytest.approx(0.03515625)  # 2 * sum of C(15, k) for k to 3, divided by 2 ** 15
    assert mcnemar_p(5, 5) == 1
    assert mcnemar_p(0, 0) == 1


def test_pairs_differences_and_agreement_are_those_of_the_rows() -> None:
    other = random_scored(800)
    scored = _ruined(other, 0.25)
    found = comparison_of(scored, other, max_macro_f1_drop=0.01, seed=0)
    ours, theirs = (f1_score(side.label_ids, side.predicted_ids, average="macro") for side in (scored, other))
    assert found["differences"]["macro_f1"] == pytest.approx(ours - theirs)
    assert found["differences"]["intervals"]["macro_f1"][1] < 0
    assert sum(found["pairs"].values()) == 800
    assert found["pairs"]["only_other_right"] == int((other.correct & ~scored.correct).sum())
    assert found["flips"] == 200 == round((1 - found["agreement"]) * 800)
    assert found["mcnemar_p"] < 0.001
    assert not found["passed"]


def test_a_better_bundle_passes_and_the_bound_itself_is_allowed() -> None:
    worse = random_scored(400)
    better = scored_from(np.eye(3)[worse.label_ids], worse.label_ids)
    assert comparison_of(better, worse, max_macro_f1_drop=0, seed=0)["passed"]
    assert comparison_of(worse, worse, max_macro_f1_drop=0, seed=0)["passed"]
    drop = -comparison_of(worse, better, max_macro_f1_drop=0, seed=0)["differences"]["macro_f1"]
    assert comparison_of(worse, better, max_macro_f1_drop=drop, seed=0)["passed"]
    assert not comparison_of(worse, better, max_macro_f1_drop=drop - 1e-6, seed=0)["passed"]


def test_resampling_pairs_is_narrower_than_resampling_each() -> None:
    other = random_scored(800)
    found = comparison_of(_ruined(other, 0.02), other, max_macro_f1_drop=0, seed=0)
    low, high = found["differences"]["intervals"]["macro_f1"]
    alone_low, alone_high = found["metrics"]["intervals"]["macro_f1"]
    assert high - low < (alone_high - alone_low) / 2


def test_flips_begin_with_what_was_lost() -> None:
    label_ids = np.array([0, 0, 0, 0, 1])
    other = scored_from(np.eye(3)[[0, 1, 1, 0, 1]], label_ids)
    scored = scored_from(np.eye(3)[[1, 0, 2, 0, 1]], label_ids)
    assert flipped(scored, other).tolist() == [0, 1, 2]

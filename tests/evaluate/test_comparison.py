"""Two bundles are compared row by row, with the numbers of McNemar's test and scikit-learn."""

import numpy as np
import pytest
from hand_scored import random_scored, scored_from
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from sentiment_ray.evaluate.comparison import compare_bundles, compute_mcnemar_p
from sentiment_ray.evaluate.examples import find_flips
from sentiment_ray.evaluate.scored_rows import ScoredRows


def _spoil(scored: ScoredRows, share: float) -> ScoredRows:
    """The same rows with a share of the predictions replaced by the next label."""
    moved = np.arange(scored.num_rows) < share * scored.num_rows
    return scored_from(
        np.where(moved[:, None], np.roll(scored.logits, 1, axis=1), scored.logits), scored.label_ids, scored.labels
    )


def test_mcnemar_is_the_binomial_test_of_the_rows_that_only_one_got_right() -> None:
    assert compute_mcnemar_p(3, 12) == pytest.approx(binomtest(3, 15).pvalue)
    assert compute_mcnemar_p(3, 12) == pytest.approx(0.03515625)  # 2 * sum of C(15, k) for k to 3, divided by 2 ** 15
    assert compute_mcnemar_p(5, 5) == 1
    assert compute_mcnemar_p(0, 0) == 1


def test_pairs_differences_and_agreement_are_those_of_the_rows() -> None:
    other = random_scored(800)
    scored = _spoil(other, 0.25)
    comparison = compare_bundles(scored, other, max_macro_f1_drop=0.01, seed=0)
    ours, theirs = (f1_score(side.label_ids, side.predicted_ids, average="macro") for side in (scored, other))
    assert comparison["differences"]["macro_f1"] == pytest.approx(ours - theirs)
    assert comparison["differences"]["intervals"]["macro_f1"][1] < 0
    assert sum(comparison["pairs"].values()) == 800
    assert comparison["pairs"]["only_other_right"] == int((other.correct & ~scored.correct).sum())
    assert comparison["flips"] == 200 == round((1 - comparison["agreement"]) * 800)
    assert comparison["mcnemar_p"] < 0.001
    assert not comparison["passed"]


def test_a_better_bundle_passes_and_a_drop_equal_to_the_limit_is_allowed() -> None:
    worse = random_scored(400)
    better = scored_from(np.eye(3)[worse.label_ids], worse.label_ids)
    assert compare_bundles(better, worse, max_macro_f1_drop=0, seed=0)["passed"]
    assert compare_bundles(worse, worse, max_macro_f1_drop=0, seed=0)["passed"]
    drop = -compare_bundles(worse, better, max_macro_f1_drop=0, seed=0)["differences"]["macro_f1"]
    assert compare_bundles(worse, better, max_macro_f1_drop=drop, seed=0)["passed"]
    assert not compare_bundles(worse, better, max_macro_f1_drop=drop - 1e-6, seed=0)["passed"]


@pytest.mark.parametrize(("rows", "certain"), [(60, False), (6000, True)])
def test_a_small_loss_is_certain_with_many_rows_alone(rows: int, certain: bool) -> None:
    other = random_scored(rows)
    comparison = compare_bundles(_spoil(other, 0.02), other, max_macro_f1_drop=0.05, seed=0)
    assert comparison["passed"]
    assert comparison["certain"] is certain


def test_paired_resampling_gives_a_narrower_interval() -> None:
    other = random_scored(800)
    comparison = compare_bundles(_spoil(other, 0.02), other, max_macro_f1_drop=0, seed=0)
    low, high = comparison["differences"]["intervals"]["macro_f1"]
    alone_low, alone_high = comparison["metrics"]["intervals"]["macro_f1"]
    assert high - low < (alone_high - alone_low) / 2


def test_flips_begin_with_the_rows_that_were_lost() -> None:
    label_ids = np.array([0, 0, 0, 0, 1])
    other = scored_from(np.eye(3)[[0, 1, 1, 0, 1]], label_ids)
    scored = scored_from(np.eye(3)[[1, 0, 2, 0, 1]], label_ids)
    assert find_flips(scored, other).tolist() == [0, 1, 2]

"""Learning rates, class weights, early stopping, and keys that contradict each other."""

from typing import Any

import pytest
from pydantic import ValidationError

from sentiment_ray.errors import ConfigError
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.schedule import compute_class_weights, compute_learning_rate, should_stop


def _config(**keys: Any) -> TrainConfig:
    return TrainConfig(prepared="p", model="m", output="o", **keys)


def test_the_learning_rate_rises_and_then_falls_to_zero() -> None:
    config = _config(learning_rate=1.0, warmup_ratio=0.1)
    assert [round(compute_learning_rate(done, config), 3) for done in (0, 0.05, 0.1, 0.55, 1)] == [0, 0.5, 1, 0.5, 0]


def test_the_old_name_of_the_warm_up_key_is_read_for_one_release() -> None:
    assert _config(warmup_share=0.3).warmup_ratio == 0.3
    with pytest.raises(ConfigError, match="both are given"):
        _config(warmup_share=0.3, warmup_ratio=0.3)


def test_balanced_class_weights_make_every_label_count_the_same() -> None:
    counts = {"bad": 30, "good": 10}
    weights = compute_class_weights(_config(class_weights="balanced"), ("bad", "good"), counts)
    assert weights[0] * 30 == pytest.approx(weights[1] * 10) == pytest.approx(20)


def test_class_weights_by_label_are_used_as_given() -> None:
    assert compute_class_weights(_config(class_weights={"good": 3}), ("bad", "good"), {}) == [1, 3]


@pytest.mark.parametrize(
    ("weights", "message"),
    [({"goood": 3}, "'goood' is not a label"), ("balanced", "has no row with the label 'good'")],
)
def test_wrong_class_weights_are_named(weights: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compute_class_weights(_config(class_weights=weights), ("bad", "good"), {"bad": 3})


@pytest.mark.parametrize(
    ("best_by", "values", "stopped"),
    [
        ("macro_f1", [0.5, 0.6], False),
        ("macro_f1", [0.6, 0.5, 0.7], False),
        ("macro_f1", [0.6, 0.5, 0.6], True),
        ("validation_loss", [0.6, 0.5, 0.4], False),
        ("validation_loss", [0.4, 0.5, 0.6], True),
        ("validation_loss", [0.4, float("nan"), float("nan")], True),
    ],
)
def test_training_stops_after_two_epochs_without_a_better_score(
    best_by: str, values: list[float], stopped: bool
) -> None:
    history = [{best_by: value} for value in values]
    assert should_stop(history, _config(best_by=best_by, early_stopping=2)) is stopped
    assert not should_stop(history, _config(best_by=best_by))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"num_workers": "4,2"}, "smaller number first"),
        ({"num_workers": 0}, "greater than or equal to 1"),
        ({"track": "tensorbord"}, "'tensorbord' is unknown"),
        ({"lora_rank": 8, "frozen_layers": 2}, "frozen_layers has no effect"),
    ],
)
def test_keys_that_contradict_each_other_are_named(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _config(**keys)


@pytest.mark.parametrize(("given", "expected"), [("2", (2, 2)), ("1,3", (1, 3)), (4, (4, 4)), ([1, 2], (1, 2))])
def test_workers_are_one_number_or_two(given: Any, expected: tuple[int, int]) -> None:
    config = _config(num_workers=given)
    assert (config.min_workers, config.max_workers) == expected

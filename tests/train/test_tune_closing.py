"""A search that ended says how it went: trials, the spread of their scores, values at the end of what was tried."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.prepared import PreparedReviews
from sentiment_ray.train.search import Search
from sentiment_ray.train.trial import TrialPlan
from sentiment_ray.train.trial_records import TrialRecord
from sentiment_ray.train.trial_summary import find_values_at_ends, summarise_trials
from sentiment_ray.train.tune_closing import show_closing
from sentiment_ray.train.tune_config import TuneConfig, check_search
from tests.conftest import LABELS

ROWS = {"train": 300, "validation": 60, "test": 60}
BY_LABEL = {split: dict.fromkeys(LABELS, count // 3) for split, count in ROWS.items()}
RANGE = {"learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}}


def _search(search: dict[str, Any], **keys: Any) -> Search:
    base = TrainConfig(**{"prepared": "p", "model": "m", "output": "o", "epochs": 4} | keys)
    config = TuneConfig(output="o", search=search)
    plan = TrialPlan(base, PreparedReviews(Path(), LABELS, ROWS, BY_LABEL, ()), {}, use_gpu=False)
    return Search(config, check_search(config.search, base)[0], plan, Path())


def _trial(*scores: float, rows: tuple[int, ...] = (20, 20, 20), **keys: Any) -> TrialRecord:
    """Return a trial whose epochs had these values of macro-F1; `rows` were given each label."""
    history = [
        {"epoch": epoch, "macro_f1": score, "validation_loss": 1 - score, "steps": 100, "predicted_rows": list(rows)}
        for epoch, score in enumerate(scores, start=1)
    ]
    return TrialRecord(keys, max(scores), history)


def _tell(search: Search, trials: list[TrialRecord], capsys: pytest.CaptureFixture[str], num_failed: int = 0) -> str:
    manifest = {
        "best": trials[0].describe(),
        "trials": [trial.describe() for trial in trials],
        "failed": [TrialRecord({}, error="wrong").describe()] * num_failed,
        "config": [search.config.model_dump(mode="json"), search.plan.base.model_dump(mode="json")],
    }
    capsys.readouterr()
    show_closing(manifest | summarise_trials(search, trials))
    told = capsys.readouterr().err
    assert 2 <= len(told.splitlines()) <= 10
    return told


def test_a_search_says_what_was_trained_and_how_far_apart_the_trials_are(capsys: pytest.CaptureFixture[str]) -> None:
    trials = [
        _trial(0.5, 0.6, 0.7, 0.8, learning_rate=1e-4),
        _trial(0.4, 0.5, 0.6, 0.79, learning_rate=5e-5),  # the default
        _trial(0.2, 0.3, learning_rate=2e-5),
    ]
    told = _tell(_search(RANGE), trials, capsys, num_failed=2)
    assert told.splitlines() == [
        "3 settings were trained, 1 of them not to the end, because others were ahead; 2 failed.",
        "The best trial has macro-F1 0.800 on the validation split, with learning_rate = 0.0001; the second best has "
        "0.790, the worst 0.300, the keys of [train] as they are 0.790.",
    ]


def test_a_single_trial_has_no_spread(capsys: pytest.CaptureFixture[str]) -> None:
    told = _tell(_search(RANGE), [_trial(0.5, 0.6, 0.7, 0.8, learning_rate=1e-4)], capsys)
    assert told.splitlines()[0] == "1 setting was trained."
    assert told.splitlines()[1].endswith("with learning_rate = 0.0001.")


def test_a_trial_that_stopped_by_its_own_key_was_not_stopped_for_others() -> None:
    search = _search(RANGE, early_stopping=1)
    trials = [_trial(0.8, 0.7, learning_rate=1e-4), _trial(0.2, 0.3, learning_rate=2e-4)]
    assert summarise_trials(search, trials)["stopped_early"] == 1


def test_the_best_loss_is_the_lowest(capsys: pytest.CaptureFixture[str]) -> None:
    trials = [replace(_trial(0.5, 0.6, 0.8, 0.7, learning_rate=rate), score=-loss) for rate, loss in
              ((1e-4, 0.2), (2e-4, 0.9))]  # fmt: skip
    told = _tell(_search(RANGE, best_by="validation_loss"), trials, capsys)
    assert "The best trial has validation loss 0.200 on" in told
    assert "the second best has 0.900" in told


@pytest.mark.parametrize(
    ("tried", "value", "is_at_end"),
    [
        ({"learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}}, 9e-4, True),
        ({"learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}}, 1.2e-5, True),
        ({"learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}}, 1e-4, False),
        ({"learning_rate": {"low": 1e-5, "high": 1e-3}}, 9.9e-4, True),
        ({"learning_rate": {"choices": [2e-5, 5e-5, 1e-4]}}, 1e-4, True),
        ({"learning_rate": {"choices": [1e-4, 2e-5, 5e-5]}}, 5e-5, False),
        ({"learning_rate": {"choices": [1e-4]}}, 1e-4, False),  # nothing else was tried
        ({"epochs": {"low": 1, "high": 4}}, 4, True),
        ({"epochs": {"low": 1, "high": 4}}, 3, False),
        ({"epochs": {"choices": [2, 3]}}, 2, True),
        ({"epochs": {"low": 1, "high": 4}}, 1, False),  # there are no fewer
        ({"dropout": {"choices": [0.0, 0.1]}}, 0.0, False),  # there is no less
        ({"dropout": {"choices": [0.0, 0.1]}}, 0.1, True),
        ({"layer_decay": {"low": 0.8, "high": 1.0}}, 0.99, False),  # there is no more
        ({"layer_decay": {"low": 0.8, "high": 1.0}}, 0.81, True),
        ({"truncation": {"choices": ["head", "tail"]}}, "tail", False),
        ({"gradient_checkpointing": {"choices": [False, True]}}, True, False),
        ({"lora_rank": {"choices": [None, 8]}}, 8, False),
    ],
)
def test_a_best_value_at_the_end_of_what_was_tried_asks_for_a_wider_range(
    tried: dict[str, Any], value: Any, is_at_end: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (name,) = tried
    search = _search(tried)
    assert bool(find_values_at_ends(search, {name: value})) is is_at_end
    told = _tell(search, [_trial(0.5, 0.6, 0.7, 0.8, **{name: value})], capsys)
    assert ("A wider range may have better values" in told) is is_at_end
    assert (f"At the end of what was tried is {name} = " in told) is is_at_end


@pytest.mark.parametrize(
    ("trial", "keys", "sentence"),
    [
        (
            _trial(0.8, 0.8, 0.8, 0.8, rows=(60, 0, 0)),
            {},
            "The best trial gives one label alone, 'negative', to all 60",
        ),
        (_trial(0.8, 0.8, 0.8, 0.8, rows=(30, 0, 30)), {}, "The best trial never gives the label 'neutral'"),
        (_trial(0.1, 0.1, 0.1, 0.1), {}, "The best trial has no higher macro-F1 than one label for all rows."),
        (_trial(0.8), {"epochs": 1}, None),
        (_trial(0.8, 0.8, 0.8, 0.8), {"num_workers": (1, 3)}, "a trial takes the steps of 3 workers"),
        (_trial(0.8, 0.8, 0.8, 0.8), {"num_workers": (2, 2)}, None),
    ],
)
def test_what_should_be_known_of_the_best_trial_is_a_warning(
    trial: TrialRecord, keys: dict[str, Any], sentence: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = replace(trial, keys={"learning_rate": 1e-4})
    warnings = [line for line in _tell(_search(RANGE, **keys), [trial], capsys).splitlines() if "warning: " in line]
    assert (sentence is None) == (not warnings)
    assert sentence is None or sentence in warnings[0]


def test_few_steps_of_the_best_trial_are_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    trial = _trial(0.5, 0.6, 0.7, 0.8, learning_rate=1e-4)
    for epoch in trial.history or []:
        epoch["steps"] = 3
    assert "warning: Only 12 steps were taken in the best trial" in _tell(_search(RANGE), [trial], capsys)

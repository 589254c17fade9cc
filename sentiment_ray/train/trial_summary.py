"""Computes what is worth saying about the trials of a search: their scores, and values at the end of what was tried."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sentiment_ray.errors import ConfigError
from sentiment_ray.train.schedule import should_stop
from sentiment_ray.train.search import Search
from sentiment_ray.train.trial_records import TrialRecord
from sentiment_ray.train.tune_config import SearchRange, apply_keys, takes_integers

NEAR_END = 0.1
"""Share of a range, at each of its ends, whose values count as being at the end."""
BEYOND = 0.1
"""Share of a value by which the next one beyond the end of a range differs."""


def summarise_trials(search: Search, trials: Sequence[TrialRecord]) -> dict[str, Any]:
    """Return facts about the trials that were trained, the best of them first, for tune.json.

    `stopped_early` counts those that others were ahead of. The scores are those of the best trial, of the next one
    (None for a single trial), of the worst one, and of the keys of [train] themselves (None unless they were tried).
    """
    scores = [trial.score for trial in trials]
    own_keys = search.identify({})
    return {
        "stopped_early": sum(_is_stopped_early(search, trial) for trial in trials),
        "scores": {
            "best": scores[0],
            "second_best": scores[1] if len(scores) > 1 else None,
            "worst": scores[-1],
            "keys_of_train": next((trial.score for trial in trials if search.identify(trial.keys) == own_keys), None),
        },
        "values_at_ends": find_values_at_ends(search, trials[0].keys),
        "labels": list(search.plan.prepared.labels),
        "rows_by_label": search.plan.prepared.rows_by_label,
    }


def find_values_at_ends(search: Search, keys: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the keys of a trial whose value is at an end of what was tried, although [train] has values beyond it.

    Each comes with its `value` and the two `ends`. A value near the end of a range counts as being at it.
    """
    found = {}
    for name, value in keys.items():
        tried = search.config.search.get(name)
        ends = _find_ends(tried) if tried else None
        if not tried or not ends or not _is_number(value):
            continue
        integers = takes_integers(name, search.checked)
        margin = 0.0 if tried.choices or integers else NEAR_END
        position = _find_position(value, ends, log=tried.log)
        beyond = []
        if position <= margin:
            beyond.append(ends[0] - (1 if integers else BEYOND * (ends[0] or 1)))
        if position >= 1 - margin:
            beyond.append(ends[1] + (1 if integers else BEYOND * ends[1]))
        if any(_is_accepted(search, {**keys, name: int(each) if integers else each}) for each in beyond):
            found[name] = {"value": value, "ends": list(ends)}
    return found


def _is_stopped_early(search: Search, trial: TrialRecord) -> bool:
    """Return whether a trial has fewer epochs than it would have trained alone."""
    config, history = apply_keys(search.plan.base, trial.keys), trial.history or []
    return len(history) < config.epochs and not should_stop(history, config)


def _find_ends(tried: SearchRange) -> tuple[float, float] | None:
    """Return the smallest and the largest number that may be tried; None for anything but several numbers."""
    if not all(map(_is_number, tried.ends)):
        return None
    low, high = min(tried.ends), max(tried.ends)
    return (low, high) if low < high else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _find_position(value: float, ends: tuple[float, float], *, log: bool) -> float:
    """Return where a number is between two ends: from 0, the lower one, to 1."""
    low, number, high = (math.log(each) if log else each for each in (ends[0], value, ends[1]))
    return (number - low) / (high - low)


def _is_accepted(search: Search, keys: Mapping[str, Any]) -> bool:
    """Return whether [train] accepts some keys."""
    try:
        apply_keys(search.plan.base, keys)
    except ConfigError:
        return False
    return True

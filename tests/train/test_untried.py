"""A search proposes no setting twice, and ends when all were tried."""

from typing import Any

import pytest

pytest.importorskip("optuna")

from ray import tune  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402
from ray.tune.search.optuna import OptunaSearch  # noqa: E402

from sentiment_ray.manifest import format_json  # noqa: E402
from sentiment_ray.train.config import TrainConfig  # noqa: E402
from sentiment_ray.train.tune_config import SearchRange, list_settings  # noqa: E402
from sentiment_ray.train.untried import MAX_PROPOSALS, UntriedSettings, find_untried  # noqa: E402

BASE = TrainConfig(prepared="p", model="m", output="o")


class ScriptedSearcher(Searcher):
    """Proposes given values of one key, in order, the last one forever; `told` lists what it learned."""

    def __init__(self, *values: float) -> None:
        super().__init__(metric="score", mode="max")
        self.values, self.told, self.points = list(values), [], []

    def set_search_properties(self, *arguments: Any, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {"dropout": self.values.pop(0) if len(self.values) > 1 else self.values[0]}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.told.append(result["score"] if result else None)

    def add_evaluated_point(self, parameters: dict[str, Any], value: float, **more: Any) -> None:
        self.points.append((parameters["dropout"], value))


def _untried(inner: Searcher, choices: list[float] | None, finished: Any = ()) -> UntriedSettings:
    def list_all() -> Any:
        return None if choices is None else ({"dropout": value} for value in choices)

    searcher = UntriedSettings(inner, format_json, list_all, finished)
    searcher.set_search_properties("score", "max", {"dropout": tune.uniform(0, 1)})
    return searcher


def test_a_proposal_that_was_tried_is_answered_from_its_trial() -> None:
    inner = ScriptedSearcher(0.1, 0.1, 0.1, 0.2, 0.3)
    searcher = _untried(inner, None)
    assert searcher.suggest("first") == {"dropout": 0.1}
    searcher.on_trial_complete("first", {"score": 0.75})
    assert searcher.suggest("second") == {"dropout": 0.2}
    assert inner.told == [0.75, 0.75, 0.75]


def test_a_setting_whose_trial_still_runs_is_not_proposed_again() -> None:
    inner = ScriptedSearcher(0.1, 0.1, 0.2)
    searcher = _untried(inner, None)
    assert [searcher.suggest(name)["dropout"] for name in ("first", "second")] == [0.1, 0.2]
    assert inner.told == [None]


def test_a_searcher_that_only_repeats_itself_is_passed_over_until_all_settings_were_tried() -> None:
    inner = ScriptedSearcher(0.1)
    searcher = _untried(inner, [0.0, 0.1, 0.2])
    proposed = []
    for name in ("a", "b", "c"):
        proposed.append(searcher.suggest(name)["dropout"])
        searcher.on_trial_complete(name, {"score": proposed[-1]})
    assert proposed == [0.1, 0.0, 0.2]
    assert inner.points == [(0.0, 0.0), (0.2, 0.2)]
    assert searcher.suggest("d") == Searcher.FINISHED
    assert len(inner.told) == 1 + 3 * MAX_PROPOSALS


def test_settings_of_an_interrupted_search_are_known() -> None:
    inner = ScriptedSearcher(0.1, 0.2, 0.3)
    searcher = _untried(inner, None, [({"dropout": 0.1}, 0.5), ({"dropout": 0.2}, None)])
    assert searcher.suggest("next") == {"dropout": 0.3}
    assert [point for point, _ in inner.points] == [0.1, 0.2]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_optuna_tries_every_setting_of_a_finite_space_once(seed: int) -> None:
    search = {
        "dropout": SearchRange(choices=(0.0, 0.1, 0.1)), "epochs": SearchRange(low=1, high=3),
        "class_weights": SearchRange(choices=("none", "balanced")),
    }  # fmt: skip
    space = {
        "dropout": tune.choice([0.0, 0.1, 0.1]), "epochs": tune.randint(1, 4),
        "class_weights": tune.choice(["none", "balanced"]),
    }  # fmt: skip
    searcher = UntriedSettings(
        OptunaSearch(seed=seed), lambda keys: format_json(keys, sort_keys=True), lambda: list_settings(search, BASE),
        [({"dropout": 0.1, "epochs": 2, "class_weights": "none"}, 0.5)],
    )  # fmt: skip
    searcher.set_search_properties("score", "max", space)
    proposed = []
    while True:
        keys = searcher.suggest(f"{len(proposed)}")
        if keys == Searcher.FINISHED:
            break
        searcher.on_trial_complete(f"{len(proposed)}", {"score": 0.1 * keys["epochs"]})
        proposed.append((keys["dropout"], keys["epochs"], keys["class_weights"]))
    assert len(proposed) == len(set(proposed)) == 2 * 3 * 2 - 1
    assert (0.1, 2, "none") not in proposed


def test_the_settings_of_a_search_can_be_listed_unless_a_key_takes_any_number() -> None:
    finite = {"lora_rank": SearchRange(low=2, high=4), "epochs": SearchRange(choices=(1, 3))}
    settings = list(list_settings(finite, TrainConfig(**BASE.model_dump() | {"lora_rank": 2})) or ())
    assert len(settings) == 6
    assert list_settings(finite | {"dropout": SearchRange(low=0.0, high=0.5)}, BASE) is None
    assert find_untried(None, format_json, []) is None

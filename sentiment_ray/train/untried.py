"""Asks a searcher of Ray Tune for settings until it proposes one that was not tried; knows no training."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ray.tune.search import Searcher

from sentiment_ray.train.schedule import NO_SCORE

MAX_PROPOSALS = 10
"""Proposals that are asked for in a row; when all of them were tried before, the next setting of the list is taken."""

Settings = Callable[[], Iterable[dict[str, Any]] | None]
"""Returns all settings of the search, or None when they cannot be listed."""


class UntriedSettings(Searcher):  # type: ignore[misc]
    """A searcher that proposes no setting twice, because a training with the same keys and seed gives the same score.

    A proposal that was tried is answered from its trial, so the inner searcher learns from it. When every setting was
    tried, the search ends.
    """

    def __init__(
        self,
        inner: Searcher,
        identify: Callable[[Mapping[str, Any]], str],
        settings: Settings,
        finished: Iterable[tuple[dict[str, Any], float | None]],
    ) -> None:
        """`identify` gives equal settings the same text; `finished` are those tried before, None for a failed trial."""
        super().__init__(metric="score", mode="max")
        self._inner, self._identify, self._settings = inner, identify, settings
        self._finished = list(finished)
        self._scores: dict[str, float | None] = {identify(keys): score for keys, score in self._finished}
        self._running: dict[str, tuple[str | None, dict[str, Any]]] = {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Take over the search space and tell the inner searcher of the finished trials."""
        if not self._inner.set_search_properties(metric, mode, config, **spec):
            return False
        for keys, score in self._finished:
            self._inner.add_evaluated_point(keys, NO_SCORE if score is None else score)
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return a setting that was not tried, or Searcher.FINISHED."""
        for number in range(MAX_PROPOSALS):
            inner_id = f"{trial_id}-{number}"
            keys = self._inner.suggest(inner_id)
            setting = self._identify(keys)
            if setting not in self._scores:
                return self._begin(trial_id, inner_id, keys)
            score = self._scores[setting]
            self._inner.on_trial_complete(inner_id, None if score is None else {"score": score}, error=score is None)
        untried = find_untried(self._settings(), self._identify, self._scores)
        return Searcher.FINISHED if untried is None else self._begin(trial_id, None, untried)

    def _begin(self, trial_id: str, inner_id: str | None, keys: dict[str, Any]) -> dict[str, Any]:
        self._scores[self._identify(keys)] = None
        self._running[trial_id] = inner_id, keys
        return keys

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Ignore a score before the last one."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the inner searcher the score of a trial."""
        inner_id, keys = self._running.pop(trial_id)
        score = result["score"] if result else NO_SCORE
        self._scores[self._identify(keys)] = score
        if inner_id is None:
            self._inner.add_evaluated_point(keys, score)
        else:
            self._inner.on_trial_complete(inner_id, {"score": score})

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: a search resumes from its own list of finished trials."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""


def find_untried(
    settings: Iterable[dict[str, Any]] | None, identify: Callable[[Mapping[str, Any]], str], tried: Iterable[str]
) -> dict[str, Any] | None:
    """Return the first setting that was not tried; None when all were, or when they cannot be listed."""
    known = set(tried)
    return next((keys for keys in settings or () if identify(keys) not in known), None)

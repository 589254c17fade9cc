"""Profiles of the texts that the service has scored lately; keeps a text for a second, until it is counted."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sentiment_ray.inference.drift import add_profiles, compute_profile
from sentiment_ray.inference.scoring import Scores

MAX_UNCOUNTED_TEXTS = 20_000
"""Texts beyond this number in a second are not counted in the profile."""
WINDOW_TEXTS = 10_000
"""The recent profile holds the last 10,000 to 20,000 texts."""


class Traffic:
    """The scored texts since the bundle was loaded."""

    def __init__(self) -> None:
        self.recent = add_profiles(())
        self._windows = [add_profiles(()), add_profiles(())]
        self._uncounted: dict[tuple[str, ...], list[tuple[Sequence[str], Scores]]] = {}
        """Answers by the labels of the bundle that gave them: a replaced bundle may still answer its last calls."""
        self._num_uncounted = 0

    def add(self, texts: Sequence[str], scores: Scores, labels: tuple[str, ...]) -> None:
        """Take the texts of one answer of a bundle with these labels, to be counted later."""
        if self._num_uncounted < MAX_UNCOUNTED_TEXTS:
            self._uncounted.setdefault(labels, []).append((texts, scores))
            self._num_uncounted += len(texts)

    def count_new(self) -> dict[str, Any] | None:
        """Return the profile of the texts that came since the last call, None without any; update `recent`."""
        uncounted, self._uncounted, self._num_uncounted = self._uncounted, {}, 0
        if not uncounted:
            return None
        profile = add_profiles([_compute_profile(answers, labels) for labels, answers in uncounted.items()])
        if self._windows[-1]["rows"] >= WINDOW_TEXTS:
            self._windows = [self._windows[-1], add_profiles(())]
        self._windows[-1] = add_profiles((self._windows[-1], profile))
        self.recent = add_profiles(self._windows)
        return profile


def _compute_profile(answers: list[tuple[Sequence[str], Scores]], labels: tuple[str, ...]) -> dict[str, Any]:
    texts = [text for texts, _ in answers for text in texts]
    return compute_profile(texts, _join([scores for _, scores in answers]), labels)


def _join(scores: list[Scores]) -> Scores:
    names = ("logits", "probabilities", "label_ids", "tokens", "truncated", "unknown")
    return Scores(**{name: np.concatenate([getattr(each, name) for each in scores]) for name in names})

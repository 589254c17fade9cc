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
        self._uncounted: list[tuple[Sequence[str], Scores]] = []
        self._num_uncounted = 0

    def add(self, texts: Sequence[str], scores: Scores) -> None:
        """Take the texts of one answer, to be counted later."""
        if self._num_uncounted < MAX_UNCOUNTED_TEXTS:
            self._uncounted.append((texts, scores))
            self._num_uncounted += len(texts)

    def count_new(self, labels: tuple[str, ...]) -> dict[str, Any] | None:
        """Return the profile of the texts that came since the last call, None without any; update `recent`."""
        uncounted, self._uncounted, self._num_uncounted = self._uncounted, [], 0
        if not uncounted:
            return None
        texts = [text for texts, _ in uncounted for text in texts]
        profile = compute_profile(texts, _join([scores for _, scores in uncounted]), labels)
        if self._windows[-1]["rows"] >= WINDOW_TEXTS:
            self._windows = [self._windows[-1], add_profiles(())]
        self._windows[-1] = add_profiles((self._windows[-1], profile))
        self.recent = add_profiles(self._windows)
        return profile


def _join(scores: list[Scores]) -> Scores:
    names = ("logits", "probabilities", "label_ids", "tokens", "truncated", "unknown")
    return Scores(**{name: np.concatenate([getattr(each, name) for each in scores]) for name in names})

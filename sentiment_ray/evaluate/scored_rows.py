"""Labelled rows with the predictions of a bundle, which every measure takes; knows no texts and no files."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from sentiment_ray.inference.scoring import Scores
from sentiment_ray.metrics.classification import confusion_counts


@dataclass(frozen=True)
class ScoredRows:
    """The labels of some rows and their predictions.

    `label_ids` and `predicted_ids` int64 `(rows,)`, `logits` and `probabilities` float64 `(rows, labels)`.
    """

    labels: tuple[str, ...]
    label_ids: NDArray[np.int64]
    predicted_ids: NDArray[np.int64]
    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.label_ids)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the prediction of each row is right: bool `(rows,)`."""
        return np.equal(self.predicted_ids, self.label_ids)

    @property
    def score(self) -> NDArray[np.float64]:
        """The probability of each row's predicted label: float64 `(rows,)`."""
        return self.probabilities[np.arange(self.num_rows), self.predicted_ids]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Confusion counts: int64 `(labels, labels)`, the true label down the rows."""
        return confusion_counts(self.label_ids, self.predicted_ids, len(self.labels))

    def take(self, rows: NDArray[np.intp]) -> "ScoredRows":
        """Return the rows with these indices."""
        return replace(
            self,
            label_ids=self.label_ids[rows],
            predicted_ids=self.predicted_ids[rows],
            logits=self.logits[rows],
            probabilities=self.probabilities[rows],
        )

    def at_temperature(self, temperature: float) -> "ScoredRows":
        """Return the rows with logits divided by a temperature: other probabilities, the same predicted labels."""
        logits = self.logits / temperature
        return replace(self, logits=logits, probabilities=softmax(logits, axis=1))


def join_labels(scores: Scores, label_ids: NDArray[np.int64], labels: tuple[str, ...]) -> ScoredRows:
    """Return the scores of a Predictor together with the labels of the same rows."""
    return ScoredRows(
        labels,
        label_ids,
        scores.label_ids,
        scores.logits.astype(np.float64),
        scores.probabilities.astype(np.float64),
    )


def split_in_half(num_rows: int, *, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of two random halves of the rows: one to choose something by, one to measure the choice on."""
    order = np.random.default_rng(seed).permutation(num_rows)
    return order[: num_rows // 2], order[num_rows // 2 :]

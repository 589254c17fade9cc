"""Finds labels that are probably wrong: a cheap classifier that never saw the row says another one; knows arrays alone.

The probabilities are cross-validated and go through confident learning (Northcutt et al. 2021, cleanlab), which takes
into account how sure the classifier usually is of each label.
"""

from dataclasses import dataclass

import numpy as np
from cleanlab.filter import find_label_issues
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NUM_FOLDS = 5
MAX_ITERATIONS = 1000
INVERSE_REGULARISATION = 0.01


@dataclass(frozen=True)
class Suspects:
    """Rows with suspected labels, the most suspect first."""

    rows: NDArray[np.intp]
    proposed: NDArray[np.intp]
    """`(suspects,)`: the label that the classifier gives each of them."""
    probability: NDArray[np.float64]
    """`(suspects,)`: what the classifier gives the label that the row has."""
    looked_at: NDArray[np.intp]
    """The rows that were looked at: those whose label is not too rare."""


def find_suspects(features: NDArray[np.float32], labels: NDArray[np.intp], *, seed: int) -> Suspects | None:
    """Return the suspected labels among rows with `features` `(rows, width)` and `labels` `(rows,)`.

    Rows of a label that has fewer rows than there are folds are left out; None when not two labels are left.
    """
    counts = np.bincount(labels)
    looked_at = np.flatnonzero(counts[labels] >= NUM_FOLDS)
    known, classes = np.unique(labels[looked_at], return_inverse=True)
    if len(known) < 2:
        return None
    # Embeddings of an encoder that was not trained for it lie close together: each dimension is scaled first.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_REGULARISATION, max_iter=MAX_ITERATIONS))
    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed)
    probabilities = cross_val_predict(model, features[looked_at], classes, cv=folds, method="predict_proba")
    found = find_label_issues(classes, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    places = np.asarray(found, dtype=np.intp)
    return Suspects(
        looked_at[places],
        known[probabilities[places].argmax(axis=1)],
        probabilities[places, classes[places]],
        looked_at,
    )

"""Finds labels that are probably wrong: a simple classifier that never saw the row predicts another one. Knows arrays.

The probabilities are cross-validated. Confident learning (Northcutt et al. 2021, cleanlab) compares them with how
confident the classifier usually is of each label.
"""

from dataclasses import dataclass

import cleanlab.filter
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NUM_FOLDS = 5
MAX_ITERATIONS = 1000
INVERSE_REGULARISATION = 0.01


@dataclass(frozen=True)
class LabelIssues:
    """Rows whose label is probably wrong, the least plausible label first. All arrays but the last are `(issues,)`."""

    rows: NDArray[np.intp]
    predicted: NDArray[np.intp]
    """The label that the classifier predicts."""
    probability: NDArray[np.float64]
    """The probability that the classifier gives the label that the row has."""
    examined_rows: NDArray[np.intp]
    """The rows that were examined: those whose label is not too rare."""


def find_label_issues(features: NDArray[np.float32], labels: NDArray[np.intp], *, seed: int) -> LabelIssues | None:
    """Return the labels that are probably wrong, of rows with `features` `(rows, width)` and `labels` `(rows,)`.

    A label with fewer rows than there are folds is not examined. Returns None when fewer than two labels are left.
    """
    examined = np.flatnonzero(np.bincount(labels)[labels] >= NUM_FOLDS)
    classes, row_class = np.unique(labels[examined], return_inverse=True)
    if len(classes) < 2:
        return None
    # Embeddings of an encoder that was not trained for this are close together, so each dimension is scaled first.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_REGULARISATION, max_iter=MAX_ITERATIONS))
    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed)
    probabilities = cross_val_predict(model, features[examined], row_class, cv=folds, method="predict_proba")
    ranked = cleanlab.filter.find_label_issues(
        row_class, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
    )
    issues = np.asarray(ranked, dtype=np.intp)
    return LabelIssues(
        rows=examined[issues],
        predicted=classes[probabilities[issues].argmax(axis=1)],
        probability=probabilities[issues, row_class[issues]],
        examined_rows=examined,
    )

"""Says whether the English suite can judge the files of a model. Knows torch's answers, no files."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.inference.behaviour import Case
from sentiment_ray.labels import label2id
from sentiment_ray.metrics.intervals import wilson_interval

LANGUAGE = "en"


def explain_no_suite(
    cases: Sequence[Case], label_ids: NDArray[np.int64], labels: Sequence[str], language: str | None
) -> str | None:
    """Return why the suite cannot judge files of this model, or None where it can.

    `label_ids` is int64 `(cases,)`, torch's answers. `language` is the one that [prepare] expects of the reviews, if
    any. The suite can judge if torch passes clearly more cases than the one label that most cases expect: the lower end
    of the Wilson interval of torch's share must be above the share of that label. Cases without an expected label do
    not count, because any constant answer passes them.
    """
    if language not in (None, LANGUAGE):
        return f"the English suite: the reviews are in another language ({language})"
    ids = label2id(labels)
    known = [
        (ids[case.expected], label_id) for case, label_id in zip(cases, label_ids, strict=True) if case.expected in ids
    ]
    if not known:
        return "the English suite: it expects none of the model's labels"
    expected, answered = np.array(known).T
    num_right, num_constant = int((expected == answered).sum()), int(np.bincount(expected).max())
    if wilson_interval(num_right, len(known))[0] > num_constant / len(known):
        return None
    return (
        f"the English suite: the checkpoint itself passes {num_right} of {len(known)} cases, "
        f"and one label for all of them passes {num_constant}"
    )

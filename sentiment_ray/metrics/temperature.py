"""The temperature that calibrates a classifier's scores; knows logits and labels, no models and no files."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

TEMPERATURES = (0.05, 20.0)


def fit_temperature(logits: NDArray[np.floating[Any]], label_ids: NDArray[np.int64]) -> float:
    """Return the number, 0.05 to 20, by which to divide logits `(texts, labels)` for the smallest log loss.

    Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", 2017, https://arxiv.org/abs/1706.04599)
    changes no label. The result is 1 where all rows are right, because the smallest number would then always win.
    """
    if np.array_equal(logits.argmax(axis=1), label_ids):
        return 1.0
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    rows, wide = np.arange(len(label_ids)), logits.astype(np.float64)

    def log_loss(log_temperature: float) -> float:
        return -float(log_softmax(wide / np.exp(log_temperature), axis=1)[rows, label_ids].mean())

    bounds = tuple(np.log(TEMPERATURES))
    minimum = minimize_scalar(log_loss, bounds=bounds, method="bounded", options={"xatol": 1e-5})
    return float(np.exp(minimum.x))

"""Picks some of many rows; knows how many there are, not what they hold."""

import numpy as np
from numpy.typing import NDArray


def evenly_spaced_rows(num_rows: int, max_rows: int) -> NDArray[np.int64]:
    """Return int64 indices of at most `max_rows` of `num_rows` rows, evenly spaced, first and last among them."""
    return np.unique(np.linspace(0, num_rows - 1, num=min(max_rows, num_rows)).astype(np.int64))

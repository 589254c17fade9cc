"""Rows are picked evenly."""

import pytest

from sentiment_ray.sampling import evenly_spaced_rows


@pytest.mark.parametrize(
    ("num_rows", "max_rows", "rows"),
    [(9, 3, [0, 4, 8]), (3, 9, [0, 1, 2]), (1, 5, [0]), (10, 4, [0, 3, 6, 9]), (0, 4, [])],
)
def test_first_and_last_are_among_evenly_spaced_rows(num_rows: int, max_rows: int, rows: list[int]) -> None:
    assert evenly_spaced_rows(num_rows, max_rows).tolist() == rows

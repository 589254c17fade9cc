"""The warning about rows that a stage set aside: one line, the same words for every stage."""

import pytest

from sentiment_ray.rejected_rows import warn_about_rejected_rows


def test_the_frequent_reasons_are_named_with_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    reasons = {"a": 1, "b": 2000, "c": 3, "d": 4, "e": 5}
    warn_about_rejected_rows(2013, 10_000, reasons, first="in/a.csv, row 7", where="See out/rejected.")
    assert capsys.readouterr().err == (
        "warning: Set aside 2,013 of 10,000 rows (b: 2,000, e: 5, d: 4, and 2 other reasons). "
        "The first is in in/a.csv, row 7. See out/rejected.\n"
    )


def test_a_bad_file_is_named_even_if_nobody_knows_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    reasons = {"not a Parquet file that can be read": 0}
    warn_about_rejected_rows(0, 9, reasons, bad_files=["a.parquet: cut off", "b.parquet: cut off"], where="See out.")
    assert capsys.readouterr().err == (
        "warning: Set aside 0 of 9 rows. Files that cannot be read: 2, such as a.parquet: cut off. See out.\n"
    )


def test_nothing_is_said_without_rejected_rows(capsys: pytest.CaptureFixture[str]) -> None:
    warn_about_rejected_rows(0, 9, {}, where="See out.")
    assert capsys.readouterr().err == ""

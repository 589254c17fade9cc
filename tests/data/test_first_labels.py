"""The first labels of each source are looked at before any work: what is refused there, and what must not be."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.first_labels import check_first_labels
from sentiment_ray.data.sources import list_files, make_read_tasks, resolve_paths
from sentiment_ray.errors import DataError

LONG = ("not at all satisfied with the service", "very satisfied with everything that was sold")


@pytest.fixture(autouse=True)
def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first table of a file has ten rows, and the first rows of a source are twenty."""
    monkeypatch.setattr("sentiment_ray.data.readers.rows.MAX_TABLE_ROWS", 10)
    monkeypatch.setattr("sentiment_ray.data.first_labels.MAX_FIRST_ROWS", 20)


def check(directory: Path, *files: Sequence[str], **keys: Any) -> None:
    """Check a source with these files, given by their labels."""
    for number, labels in enumerate(files):
        lines = ["text,label", *(f"review {row},{label}" for row, label in enumerate(labels))]
        (directory / f"{number}.csv").write_text("\n".join(lines))
    described = {"output": str(directory / "out"), "sources": [{"path": str(directory / "*.csv")}], **keys}
    config = resolve_paths(PrepareConfig.model_validate(described))
    check_first_labels(config, make_read_tasks(config, list_files(config)))


@pytest.mark.parametrize(
    "files",
    [
        (["1"] * 15 + ["positive"] * 85,),  # sorted by its labels: the first rows say nothing
        (["1"] * 15 + ["positive"], ["2"] * 9, ["positive"]),  # a later file has labels
        ([*"12345", "positive"] * 10,),
        (["", ""],),
        ([],),
    ],
)
def test_rows_that_may_be_good_are_left_to_the_preparation(tmp_path: Path, files: tuple[Sequence[str], ...]) -> None:
    check(tmp_path, *files)


@pytest.mark.parametrize("files", [(["1"] * 9,), (["1", "2"] * 50,), (["1"] * 9, ["2"] * 9), (["5 stars", "1 star"],)])
def test_labels_that_are_none_are_refused(tmp_path: Path, files: tuple[Sequence[str], ...]) -> None:
    with pytest.raises(DataError, match=r"none of the first \d+ rows has one of the labels negative, neutral"):
        check(tmp_path, *files)


def test_as_many_rows_as_may_be_rejected_are_not_refused(tmp_path: Path) -> None:
    check(tmp_path, [*"12345"], max_rejected=1)


def test_labels_that_no_message_shows_are_labels(tmp_path: Path) -> None:
    check(tmp_path, LONG * 4, labels=LONG)
    with pytest.raises(DataError, match="texts that may be reviews") as caught:
        check(tmp_path, LONG * 4)
    assert "satisfied" not in str(caught.value)


def test_rows_that_are_left_out_on_request_are_not_refused(tmp_path: Path) -> None:
    check(tmp_path, ["3"] * 9, sources=[{"path": str(tmp_path / "*.csv"), "leave_out": ["3"]}])

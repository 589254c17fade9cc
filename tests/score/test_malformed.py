"""The malformed files have the number, variety and repeatability that other tests rely on."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.score.malformed import KINDS, Case, write_malformed

SEED = 7


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return write_malformed(tmp_path_factory.mktemp("malformed"), seed=SEED)


def _contents(cases: list[Case]) -> dict[str, bytes | None]:
    return {case.name: case.path.read_bytes() if case.path.is_file() else None for case in cases}


def _read_all(case: Case) -> pa.Table:
    with case.path.open("rb") as file:
        return parquet.ParquetFile(file).read(columns=["body"])


def test_there_are_300_files_with_a_name_of_their_own(cases: list[Case]) -> None:
    assert len(cases) == len({case.name for case in cases}) == 300
    assert {case.path for case in cases} == set(cases[0].path.parent.iterdir())
    assert all(case.path.suffix == ".parquet" and case.name == case.path.stem for case in cases)


def test_every_kind_is_there_and_in_more_than_one_variant(cases: list[Case]) -> None:
    counts = Counter(case.kind for case in cases)
    assert set(counts) == set(KINDS)
    assert min(counts.values()) >= 2


def test_they_fit_on_a_small_disk(cases: list[Case]) -> None:
    assert sum(len(content) for content in _contents(cases).values() if content) < 60e6


def test_the_same_seed_gives_the_same_bytes(cases: list[Case], tmp_path: Path) -> None:
    assert _contents(write_malformed(tmp_path, seed=SEED)) == _contents(cases)


def test_another_seed_breaks_other_bytes(cases: list[Case], tmp_path: Path) -> None:
    before, after = _contents(cases), _contents(write_malformed(tmp_path, seed=SEED + 1, count=len(KINDS)))
    assert all(after[name] != before[name] for name in ("flipped-pages-000", "flipped-footer-000", "random-bytes-000"))


def test_rows_are_those_of_the_footer_where_one_can_be_read(cases: list[Case]) -> None:
    assert all(case.num_rows is None for case in cases if case.kind in ("empty", "truncated", "other-format"))
    assert all(case.num_rows in (1, 200) for case in cases if case.kind == "good")
    assert {case.num_rows for case in cases if case.name == "footer-lie-rows-negative"} == {-1}


def test_good_files_are_good(cases: list[Case]) -> None:
    good = [case for case in cases if case.kind in ("good", "name")]
    assert good
    for case in good:
        assert not case.must_fail
        assert _read_all(case).num_rows == case.num_rows


def test_files_that_must_fail_have_no_text_column_to_read(cases: list[Case]) -> None:
    for case in cases:
        if case.must_fail and case.path.is_file() and case.num_rows is not None:
            with case.path.open("rb") as file:
                schema = parquet.ParquetFile(file).schema_arrow
            assert "body" not in schema.names or not pa.types.is_string(schema.field("body").type), case.name


def test_a_corrupt_row_group_leaves_the_others_readable(cases: list[Case]) -> None:
    for case in cases:
        if case.kind == "corrupt-row-group":
            broken = int(case.name[-1])
            file = parquet.ParquetFile(case.path)
            for group in range(file.num_row_groups):
                if group == broken:
                    with pytest.raises((pa.ArrowException, OSError)):
                        file.read_row_group(group, columns=["body"])
                else:
                    assert file.read_row_group(group, columns=["body"]).num_rows == 50


def test_a_short_column_shows_by_its_rows_alone(cases: list[Case]) -> None:
    """In small batches one row group ends early, without an error, after texts that belong to other rows."""
    for case in cases:
        if case.kind == "short-column":
            file, short = parquet.ParquetFile(case.path), int(case.name.split("-")[4])
            size = file.metadata.row_group(0).num_rows // 5
            for group in range(file.num_row_groups):
                num_rows = sum(len(batch) for batch in file.iter_batches(size, row_groups=[group]))
                assert num_rows == (4 if group == short else 5) * size


def test_bombs_are_small_files_of_much_text(cases: list[Case]) -> None:
    bombs = [case for case in cases if case.kind == "bomb"]
    assert len(bombs) == 10
    assert max(case.path.stat().st_size for case in bombs) < 2e6

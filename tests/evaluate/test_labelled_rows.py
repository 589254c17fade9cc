"""Rows that cannot be measured are rejected and counted; a wrong file, column or label column is named."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from sentiment_ray.errors import DataError
from sentiment_ray.evaluate.config import EvaluateConfig
from sentiment_ray.evaluate.labelled_rows import LabelledRows, read_labelled, select_slice_columns
from sentiment_ray.input_files.listing import InputFile
from tests.situations.run_job import run_job

LABELS = ("negative", "neutral", "positive")
GOLDEN_BUNDLE = Path(__file__).parents[1] / "golden/bundle"


def _write(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path)
    return path


def _read(*files: Path, **keys: Any) -> LabelledRows:
    config = EvaluateConfig(**{"bundle": "bundle", "input": "reviews", "output": "out"} | keys)
    inputs = [InputFile(str(file), "/".join(file.parts[-2:]), 1, "1") for file in files]
    return read_labelled(inputs, config, LABELS)


def test_rows_without_text_or_known_label_are_rejected_with_their_reasons(tmp_path: Path) -> None:
    text = pa.array([b"good", None, b"", b" \t", b"\xff\xfe", b"fine", b"odd", b"tea"]).view(pa.string())
    label = ["positive", "positive", "neutral", "neutral", "neutral", None, "mixed", "neutral"]
    labelled = _read(_write(tmp_path / "a.parquet", text=text, label=label, id=range(8)), max_rejected=0.9)
    assert labelled.texts == ["good", "tea"]
    assert labelled.label_ids.tolist() == [2, 1]
    assert labelled.table["id"].to_pylist() == [0, 7]
    assert labelled.rejected == {
        "rows": 6,
        "reasons": {
            "text is empty": 2,
            "text is null": 1,
            "text is not UTF-8": 1,
            "label is null": 1,
            "label is not one of the bundle's": 1,
        },
        "first": f"{tmp_path / 'a.parquet'}, row 1",
    }


def test_case_and_blanks_around_a_label_do_not_matter_as_when_reviews_are_prepared(tmp_path: Path) -> None:
    spelled = ["Positive", "NEGATIVE ", "\tneutral", "\ufeffpositive\u200b", "neutral\xa0"]
    labelled = _read(_write(tmp_path / "a.parquet", text=["tea"] * 5, label=spelled))
    assert labelled.label_ids.tolist() == [2, 0, 1, 2, 1]
    assert labelled.table["label"].to_pylist() == spelled
    assert labelled.rejected["rows"] == 0


def test_too_many_defects_name_the_first_ones_file_and_row(tmp_path: Path) -> None:
    good = _write(tmp_path / "a.parquet", text=["tea"] * 18, label=["neutral"] * 18)
    bad = _write(tmp_path / "b.parquet", text=["tea", "tea"], label=["neutral", "meh"])
    assert _read(good, bad).rejected["rows"] == 1
    with pytest.raises(DataError, match=r"b\.parquet: row 1: label is not one of the bundle's \('meh'\): 1 of 20 rows"):
        _read(good, bad, max_rejected=0.04)


def test_a_long_label_is_not_quoted(tmp_path: Path) -> None:
    file = _write(tmp_path / "a.parquet", text=["tea"], label=["a whole review that nobody should find in a log"])
    with pytest.raises(DataError, match="not quoted") as caught:
        _read(file)
    assert "whole review" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["tea"], "stars": [3]}, r"'label' is missing \(found: 'text', 'stars'\)"),
        ({"body": ["tea"], "label": ["neutral"]}, r"'text' is missing \(found: 'body', 'label'\)"),
        ({"text": [1], "label": ["neutral"]}, "holds int64, not texts. No column holds texts. Write them as strings"),
        ({"text": ["tea"], "label": [[1]]}, "list<.*>, not texts or numbers. Pass --label-column"),
        ({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())}, "has no rows, so there is nothing"),
    ],
    ids=["no label", "no text", "numbers", "lists", "no rows"],
)
def test_an_error_names_the_defect_of_a_file(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        _read(_write(tmp_path / "a.parquet", **columns))


NO_ROWS: dict[str, Any] = {name: pa.array([], pa.string()) for name in ("text", "label")}


@pytest.mark.parametrize(
    "location", ["prepared", "prepared/test", "prepared/test/*.parquet", "prepared/test/0.parquet"]
)
def test_an_empty_test_split_is_one_line(tmp_path: Path, location: str) -> None:
    """Few reviews may leave the test split without rows, and an input may be the reviews, the split or its files."""
    _write(tmp_path / "prepared/train/0.parquet", text=["tea"], label=["neutral"])
    for number in range(2):
        _write(tmp_path / f"prepared/test/{number}.parquet", **NO_ROWS)
    (tmp_path / "prepared/prepared.json").write_text("{}")
    flags = ("--bundle", str(GOLDEN_BUNDLE), "--input", str(tmp_path / location), "--output", str(tmp_path / "out"))
    outcome = run_job("evaluate_bundle", *flags)
    assert outcome.exit_code == 2
    (line,) = outcome.error_lines
    assert f"input = '{tmp_path / location}' has no rows" in line and "larger test_share" in line
    assert "Traceback" not in outcome.stderr
    assert not (tmp_path / "out").exists()


def test_a_column_that_exists_twice_is_refused(tmp_path: Path) -> None:
    table = pa.table([["tea"], ["coffee"], ["neutral"]], names=["text", "text", "label"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="has 2 columns 'text'"):
        _read(tmp_path / "a.parquet")


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("text,label")
    with pytest.raises(DataError, match=r"a\.parquet: not a Parquet file"):
        _read(tmp_path / "a.parquet")


def test_files_with_different_types_of_a_column_are_refused(tmp_path: Path) -> None:
    files = [
        _write(tmp_path / f"{number}.parquet", text=["tea"], label=["neutral"], extra=[extra])
        for number, extra in enumerate(("x", [1]))
    ]
    with pytest.raises(DataError, match="1.parquet: the column 'extra' is list<.*> here and string in most files"):
        _read(*files)


def test_files_with_different_columns_are_one_table(tmp_path: Path) -> None:
    first = _write(tmp_path / "a.parquet", text=["tea"], label=["neutral"], source=["a"])
    second = _write(tmp_path / "b.parquet", text=["good"], label=["positive"], language=["en"])
    table = _read(first, second).table
    assert table.column_names == ["text", "label", "source", "language"]
    assert table["source"].to_pylist() == ["a", None]


@pytest.mark.parametrize(
    "kind", [pa.dictionary(pa.int8(), pa.string()), pa.large_string(), pa.string_view(), pa.binary()]
)
def test_strings_of_any_kind_are_read(tmp_path: Path, kind: pa.DataType) -> None:
    text, label = (pa.array([value] * 2).cast(kind) for value in ("tea", "neutral"))
    labelled = _read(_write(tmp_path / "a.parquet", text=text, label=label))
    assert (labelled.texts, labelled.label_ids.tolist()) == (["tea", "tea"], [1, 1])


def test_source_and_language_are_slices_where_they_exist(tmp_path: Path) -> None:
    table = pa.table({"text": ["tea"], "source": ["a"], "stars": [3]})
    config = EvaluateConfig(bundle="bundle", input="reviews", output="out")
    assert select_slice_columns(table, config) == {"source": ["a"]}
    assert select_slice_columns(table, config.model_copy(update={"slice_by": ("stars",)})) == {"stars": [3]}
    with pytest.raises(DataError, match=r"reviews: the column 'year' is missing \(found: 'text', 'source', 'stars'\)"):
        select_slice_columns(table, config.model_copy(update={"slice_by": ("year",)}))

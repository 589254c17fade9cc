"""Every row ends up exactly once, in a part or in quarantine, with its columns and in its order."""

import json
from pathlib import Path

import pandas
import pyarrow as pa
import pytest
from pyarrow import parquet

from sentiment_ray import Predictor
from sentiment_ray.errors import BundleError, ConfigError, DataError, GateError
from sentiment_ray.manifest import hash_file
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.score import score_reviews
from tests.score.outputs import list_parts

ADDED = ["sentiment_label", "sentiment_score", "sentiment_negative", "sentiment_neutral", "sentiment_positive"] + [
    "sentiment_tokens",
    "sentiment_truncated",
]


def _rows(directory: Path) -> pa.Table:
    return pa.concat_tables(parquet.read_table(path, partitioning=None) for path in sorted(directory.rglob("year=*/*")))


def _manifest(scores: Path) -> dict[str, object]:
    return json.loads((scores / "_MANIFEST.json").read_text())


def test_scores_hold_exactly_the_rows_and_columns_of_the_input(scores: Path, corpus: Path) -> None:
    before, after = _rows(corpus), pa.concat_tables(
        parquet.read_table(path, partitioning=None) for path in sorted(scores.glob("year=*/*.parquet"))
    )  # fmt: skip
    good = [bool(text and text.strip()) for text in before["body"].to_pylist()]
    assert after.column_names == [*before.column_names, *ADDED]
    assert after.select(before.column_names).to_pylist() == before.filter(pa.array(good)).to_pylist()


def test_parts_have_the_paths_of_their_input_files(scores: Path) -> None:
    found = sorted(path.relative_to(scores).as_posix() for path in scores.glob("year=*/*"))
    assert found[0] == "year=2024/reviews-00000.parquet"
    assert {Path(name).parent.as_posix() for name in found} == {"year=2024", "year=2025"}


def test_rows_without_text_are_quarantined_with_index_and_reason(scores: Path, corpus: Path) -> None:
    tables = [parquet.read_table(path, partitioning=None) for path in (scores / "_quarantine").rglob("*.parquet")]
    texts = parquet.read_table(corpus / "year=2025/reviews.parquet", partitioning=None)["body"]
    found = {row["row"]: row["reason"] for row in pa.concat_tables(tables).to_pylist()}
    assert {texts[row].as_py(): reason for row, reason in found.items()} == {
        None: "text is null",
        "": "text is empty",
        " \t": "text is empty",
    }


def test_the_manifest_adds_up_and_names_the_bytes_of_every_part(scores: Path, corpus: Path) -> None:
    manifest = _manifest(scores)
    assert manifest["rows_in"] == len(_rows(corpus)) == manifest["rows_scored"] + manifest["rows_quarantined"]  # type: ignore[operator]
    assert manifest["rows_quarantined"] == 3
    parts = {name: receipt.files[name].sha256 for name, receipt in list_parts(scores).items()}
    assert parts == {path.relative_to(scores).as_posix(): hash_file(path) for path in scores.glob("year=*/*.parquet")}
    assert (scores / "_SUCCESS").exists()


def test_scores_are_those_of_the_predictor(scores: Path, predictor: Predictor) -> None:
    frame = pandas.concat(pandas.read_parquet(path) for path in sorted(scores.glob("year=*/*.parquet")))
    for row, answer in zip(frame.to_dict("records"), predictor.predict(frame["body"].tolist()), strict=True):
        assert row["sentiment_label"] == answer.label
        assert row["sentiment_score"] == pytest.approx(answer.score, abs=1e-5)
        assert row["sentiment_neutral"] == pytest.approx(answer.probabilities["neutral"], abs=1e-5)
        assert (row["sentiment_tokens"], row["sentiment_truncated"]) == (answer.tokens, answer.truncated)


def _config(scores: Path, **changes: object) -> ScoreConfig:
    return ScoreConfig(**({"output": str(scores)} | _manifest(scores)["config"] | changes))  # type: ignore[operator]


def test_another_number_of_workers_and_columns_on_request_give_the_same_scores(scores: Path, tmp_path: Path) -> None:
    result = score_reviews(_config(scores, output=str(tmp_path / "out"), columns=("review_id",), num_workers=1))
    assert result["rows_scored"] == _manifest(scores)["rows_scored"]
    for path in (tmp_path / "out").glob("year=*/*.parquet"):
        table, expected = parquet.read_table(path), parquet.read_table(scores / path.relative_to(tmp_path / "out"))
        assert table.column_names == ["review_id", *ADDED]
        assert table.select(ADDED).equals(expected.select(ADDED))


@pytest.fixture
def broken(corpus: Path, tmp_path: Path) -> Path:
    """The corpus beside a truncated file, one without the column, and one whose column holds numbers."""
    directory = tmp_path / "broken"
    directory.mkdir()
    data = (corpus / "year=2024/reviews.parquet").read_bytes()
    (directory / "good.parquet").write_bytes(data)
    (directory / "truncated.parquet").write_bytes(data[: len(data) // 2])
    parquet.write_table(pa.table({"other": ["x"]}), directory / "without.parquet")
    parquet.write_table(pa.table({"body": [1]}), directory / "numbers.parquet")
    return directory


def test_bad_files_are_quarantined_by_name_and_good_ones_scored(scores: Path, broken: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = score_reviews(_config(scores, input=str(broken), output=str(output), columns=(), max_quarantined=1))
    assert (result["rows_scored"], result["rows_in"]) == (200, 202)
    rows = parquet.read_table(output / "_quarantine/_files.parquet").to_pylist()
    assert {row["rows"] for row in rows} == {0, 1}
    reasons = {Path(row["path"]).name: row["reason"] for row in rows}
    assert "not a Parquet file that can be read" in reasons["truncated.parquet"]
    assert "column 'body' is missing (found: 'other')" in reasons["without.parquet"]
    assert "column 'body' holds int64, not texts" in reasons["numbers.parquet"]


def test_nothing_is_committed_with_too_many_quarantined_rows_until_it_is_allowed(
    scores: Path, broken: Path, tmp_path: Path
) -> None:
    config = _config(scores, input=str(broken), output=str(tmp_path / "out"), columns=())
    with pytest.raises(GateError, match="3 of 4 files cannot be scored"):
        score_reviews(config)
    assert not {"_MANIFEST.json", "_SUCCESS"} & {path.name for path in (tmp_path / "out").iterdir()}
    receipts = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/_receipts").rglob("*.parquet")}
    assert receipts
    assert score_reviews(config.model_copy(update={"max_quarantined": 1.0}))["rows_scored"] == 200
    assert receipts == {path: path.stat().st_mtime_ns for path in receipts}


@pytest.mark.parametrize(
    ("changes", "error", "found"),
    [
        ({"bundle": "/nowhere"}, BundleError, "no bundle at /nowhere"),
        ({"input": "/nowhere"}, DataError, "'/nowhere' does not exist"),
        ({"input": "elsewhere://bucket/key"}, ConfigError, "Protocol not known"),
        ({"text_column": "review"}, DataError, r"column 'review' is missing \(found: 'review_id', 'body', 'stars'\)"),
        ({"num_workers": 99}, ConfigError, "the cluster has 2 CPUs"),
    ],
)
def test_a_wrong_input_is_named_and_leaves_nothing(
    scores: Path, tmp_path: Path, changes: dict[str, object], error: type[Exception], found: str
) -> None:
    with pytest.raises(error, match=found):
        score_reviews(_config(scores, **({"output": str(tmp_path / "out")} | changes)))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_scores_are_not_scored_again_over_their_own_columns(scores: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'sentiment_label' already exists"):
        score_reviews(_config(scores, input=str(scores), output=str(tmp_path / "out")))


def test_an_output_inside_the_input_is_refused(scores: Path, corpus: Path) -> None:
    with pytest.raises(ConfigError, match="lies inside input"):
        score_reviews(_config(scores, output=str(corpus / "scores")))

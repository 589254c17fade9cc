"""Keys that change the output: its columns, their names, the groups, and the store."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pytest
from pyarrow import parquet

from sentiment_ray import Predictor
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.score.columns import PLAN_KEY, make_added_columns
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.score import score_reviews
from sentiment_ray.score.verify import verify_scores
from sentiment_ray.storage import open_store
from tests.score.outputs import list_parts

LABELS = ("negative", "neutral", "positive")


@pytest.fixture
def settings(bundle: Path, corpus: Path, tmp_path: Path, ray_cluster: None) -> dict[str, Any]:
    return {
        "bundle": str(bundle), "input": str(corpus), "output": str(tmp_path / "out"), "text_column": "body",
        "engine": "onnxruntime", "variant": "fp32",
    }  # fmt: skip


def _read(directory: Path) -> pandas.DataFrame:
    paths = sorted(directory.glob("year=*/*.parquet"))
    return pandas.concat([parquet.read_table(path, partitioning=None).to_pandas() for path in paths])


def test_columns_can_be_left_out_and_renamed(settings: dict[str, Any], tmp_path: Path) -> None:
    score_reviews(ScoreConfig(**settings, drop_text=True, prefix="mood_", probabilities=False))
    expected = ["review_id", "stars", "mood_label", "mood_score", "mood_tokens", "mood_truncated"]
    assert _read(tmp_path / "out").columns.tolist() == expected


def test_sums_by_group_are_those_of_the_rows(settings: dict[str, Any], tmp_path: Path) -> None:
    score_reviews(ScoreConfig(**settings, group_by="review_id", uncertain_below=0.5, unit_rows=50))
    rows = _read(tmp_path / "out")
    groups = parquet.read_table(tmp_path / "out/_groups/groups.parquet").to_pandas().set_index("review_id")
    expected = rows.groupby("review_id").agg(rows=("stars", "size"), **{
        f"mean_{label}": (f"sentiment_{label}", "mean") for label in LABELS
    })  # fmt: skip
    assert groups["rows"].to_dict() == expected["rows"].to_dict()
    for label in LABELS:
        np.testing.assert_allclose(groups.sort_index()[f"mean_{label}"], expected[f"mean_{label}"], atol=1e-6)
    shares = rows.assign(uncertain=rows["sentiment_score"] < 0.5).groupby("review_id")["uncertain"].mean()
    np.testing.assert_allclose(groups.sort_index()["uncertain_share"], shares)


def test_several_text_columns_are_read_one_after_the_other(
    settings: dict[str, Any], predictor: Predictor, tmp_path: Path
) -> None:
    source = tmp_path / "titled.parquet"
    rows = {"title": ["Great", None, " ", None], "body": ["would buy again", "bad pie", "good", None]}
    pandas.DataFrame(rows).to_parquet(source)
    config = settings | {"input": str(source), "text_column": "title,body", "max_quarantined": 0.5}
    result = score_reviews(ScoreConfig(**config))
    assert (result["rows_scored"], result["rows_quarantined"]) == (3, 1)
    scores = parquet.read_table(tmp_path / "out/titled.parquet").to_pandas()
    expected = predictor.predict(["Great\nwould buy again", "bad pie", "good"])
    assert scores["sentiment_score"].tolist() == pytest.approx([answer.score for answer in expected], abs=1e-6)


def test_bundle_input_and_output_may_be_on_an_object_store(
    settings: dict[str, Any], scores: Path, corpus: Path, bundle: Path, s3: str
) -> None:
    fs = open_store(s3).fs
    fs.put(f"{corpus}/", f"{s3}/columns/corpus/", recursive=True)
    fs.put(f"{bundle}/", f"{s3}/columns/bundle/", recursive=True)
    output = f"{s3}/columns/scores"
    urls = {"bundle": f"{s3}/columns/bundle", "input": f"{s3}/columns/corpus", "output": output}
    result = score_reviews(ScoreConfig(**settings | urls, unit_rows=100))
    manifest = json.loads((scores / "_MANIFEST.json").read_text())
    assert result["rows_scored"] == manifest["rows_scored"]
    store = open_store(output)
    for part in list_parts(scores):
        with (scores / part).open("rb") as file:
            tables = [parquet.ParquetFile(source).read() for source in (file, io.BytesIO(store.read(part)))]
        plans = [(table.schema.metadata or {}).pop(PLAN_KEY) for table in tables]
        assert tables[0].equals(tables[1])
        assert plans[0] != plans[1], "the input has another path, so this is another plan"
    assert verify_scores(output)["verified"]
    assert score_reviews(ScoreConfig(**settings | urls, unit_rows=100))["skipped"]


def test_a_run_with_max_workers_ends_on_a_cluster_that_does_not_grow(settings: dict[str, Any]) -> None:
    result = score_reviews(ScoreConfig(**settings, unit_rows=50, num_workers=1, max_workers=8))
    assert result["parts"] > 4


def test_plan_estimates_a_run_and_writes_nothing(settings: dict[str, Any], tmp_path: Path) -> None:
    plan = score_reviews(ScoreConfig(**settings, plan=True, price_per_hour=2, within_hours=1))
    assert plan["rows"] == sum(
        parquet.read_metadata(path).num_rows for path in Path(settings["input"]).rglob("*.parquet")
    )
    assert plan["rows_per_s"] > 0
    assert plan["workers_needed"] == 1
    assert sum(plan["tokens"].values()) == plan["sample_rows"] >= 100
    assert not (tmp_path / "out").exists()


def test_files_with_other_types_are_scored_into_parts_with_one_type_and_grouped_by_their_path(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    tags = pa.array([["a"], None, ["b"]], pa.list_(pa.string_view()))
    day = pa.timestamp("us")
    files = {
        "year=2024/a": {"body": ["good", "bad", "fine"], "id": pa.array([1, 2, 3], pa.int32()), "tags": tags,
                        "day": pa.nulls(3, day)},
        "year=2025/b": {"body": pa.array([b"good", b"caf\xe9", b"bad"]), "id": pa.array([4, 5, 2**40]), "tags": tags,
                        "day": pa.array([1, 2, 3], day)},
        "year=2025/c": {" body": pa.array(["fine"]).dictionary_encode(), "id": [7], "day": pa.array([2**62], day),
                        "tags": pa.nulls(1)},
        "year=2025/d": {"body": ["fine"], "id": [8.0], "day": pa.array([1], pa.timestamp("ns")), "tags": [["c"]]},
        "year=2026/empty": {"body": pa.nulls(0), "id": pa.array([], pa.float64())},
    }  # fmt: skip
    for name, columns in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table(columns), tmp_path / f"in/{name}.parquet")
    keys = settings | {"input": str(tmp_path / "in"), "group_by": "year", "max_quarantined": 0.5}
    result = score_reviews(ScoreConfig(**keys))
    assert (result["rows_in"], result["rows_scored"], result["rows_quarantined"], result["parts"]) == (8, 6, 2, 5)
    manifest = json.loads((tmp_path / "out/_MANIFEST.json").read_text())
    assert (manifest["files_quarantined"], len(manifest["quarantine_reasons"])) == ([], 2)
    assert any(
        reason.startswith("column 'day' cannot be cast to timestamp[ns]") for reason in manifest["quarantine_reasons"]
    )
    parts = {name: parquet.read_table(tmp_path / f"out/{name}.parquet", partitioning=None) for name in files}
    types = {"body": pa.string(), "id": pa.int64(), "day": pa.timestamp("ns"), "tags": pa.list_(pa.large_string())}
    for name in ("year=2024/a", "year=2025/b", "year=2025/d"):
        assert {column: str(parts[name].schema.field(column).type) for column in types} == {
            column: str(kind).replace("item", "element") for column, kind in types.items()
        }
    assert parts["year=2025/b"].select(["body", "id", "tags"]).to_pylist() == [
        {"body": "good", "id": 4, "tags": ["a"]}, {"body": "bad", "id": 2**40, "tags": ["b"]},
    ]  # fmt: skip
    groups = parquet.read_table(tmp_path / "out/_groups/groups.parquet").to_pylist()
    assert [(group["year"], group["rows"]) for group in groups] == [("2024", 3), ("2025", 3)]
    assert verify_scores(str(tmp_path / "out"))["verified"]
    assert score_reviews(ScoreConfig(**keys))["skipped"]


def test_a_thousand_labels_have_their_names_and_probabilities(tmp_path: Path) -> None:
    labels = [f"label {number}" for number in range(1000)]
    none = np.zeros(2, np.int32)
    probabilities = np.eye(1000, dtype=np.float32)[[0, 999]]
    scores = Scores(probabilities, probabilities, np.array([0, 999]), none, none.astype(bool), none)
    config = ScoreConfig(bundle="b", input="i", output=str(tmp_path))
    names, score, *each = make_added_columns(config, labels, scores)
    assert names.to_pylist() == ["label 0", "label 999"]
    assert score.to_pylist() == each[999].to_pylist()[1:] * 2

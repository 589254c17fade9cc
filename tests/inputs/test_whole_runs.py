"""Whole runs of the three stages on inputs whose names and links are those of real data."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from layouts import write_rows
from pyarrow import parquet

from jobs.prepare_reviews import prepare
from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.evaluate.config import EvaluateConfig
from sentiment_ray.evaluate.evaluate import evaluate_bundle
from sentiment_ray.manifest import read_json
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.score import score_reviews
from sentiment_ray.store_location import open_location

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Ten rows: in a partition with an underscore, behind a link to a file, and behind a link to a directory."""
    root = tmp_path / "in [v1]"
    write_rows(root / "_market=eu/a.PARQUET", [f"a fine lamp {number}" for number in range(5)])
    blob = write_rows(tmp_path / "blobs/0a1b", [f"a fine tent {number}" for number in range(3)])
    os.utime(blob, (1_600_000_000, 1_600_000_000))
    (root / "b.parquet").symlink_to(blob)
    write_rows(tmp_path / "elsewhere/part-00000-0a1b-c000", [f"a fine radio {number}" for number in range(2)])
    (root / "shop").symlink_to(tmp_path / "elsewhere")
    (root / "_SUCCESS").touch()
    write_rows(root / "_new/c.parquet", ["nobody reads this"])
    (root / "reviews.csv").write_text("text,label\nnobody reads this,positive\n")
    return root


def test_prepare_reads_links_and_partitions_and_counts_the_rest(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys: dict[str, Any] = {"labels": ("negative", "positive"), "validation_share": 0, "test_share": 0}
    source = {"path": str(corpus), "format": "parquet"}
    prepare(PrepareConfig(output=str(tmp_path / "prepared"), sources=[source], **keys))
    manifest = read_json(tmp_path / "prepared/prepared.json")
    assert manifest["counts"]["rows_in"] == 10
    assert manifest["sources"][0]["left_out_files"] == {
        "hidden_data": 1, "markers": 1, "other_formats": 1, "names": ["_new/c.parquet", "reviews.csv"],
    }  # fmt: skip
    assert "reviews.csv; names that begin with _ or a dot (1): _new/c.parquet" in capsys.readouterr().err


def test_score_reads_links_notices_a_changed_target_and_counts_the_rest(
    corpus: Path, tmp_path: Path, bundle: Path
) -> None:
    output = tmp_path / "out"
    keys: dict[str, Any] = {"bundle": str(bundle), "engine": "onnxruntime", "variant": "fp32", "columns": ("text",)}
    config = ScoreConfig(input=str(corpus), output=str(output), **keys)
    assert score_reviews(config)["rows_scored"] == 10
    manifest = read_json(output / "_MANIFEST.json")
    assert manifest["left_out_files"] == read_json(output / "_report.json")["left_out_files"]
    assert manifest["left_out_files"]["names"] == ["_new/c.parquet", "reviews.csv"]
    assert "reviews.csv" in (output / "_report.html").read_text()
    plan = read_json(output / "_plan/plan.json")
    del plan["left_out_files"]  # as earlier releases wrote it
    (output / "_plan/plan.json").write_text(json.dumps(plan))
    assert score_reviews(config)["skipped"]
    globbed = config.model_copy(update={"input": f"{corpus}/**/*", "output": str(tmp_path / "globbed")})
    assert score_reviews(globbed)["rows_scored"] == 10
    blob = write_rows(tmp_path / "blobs/0a1b", [f"a poor tent {number}" for number in range(3)])
    os.utime(blob, (1_600_000_001, 1_600_000_001))
    result = score_reviews(config.model_copy(update={"restart": True}))
    assert (result["rows_scored"], result["skipped"]) == (10, False)
    assert parquet.ParquetFile(output / "b.parquet").read()["text"].to_pylist()[0] == "a poor tent 0"


def test_evaluate_reads_directories_globs_and_buckets_alike(
    corpus: Path, tmp_path: Path, bundle: Path, s3: str
) -> None:
    fs, bucket = open_location(s3)
    for name in ("_market=eu/a.PARQUET", "b.parquet", "shop/part-00000-0a1b-c000", "_new/c.parquet", "_SUCCESS"):
        fs.pipe(f"{bucket}/evaluated/{name}", (corpus / name).read_bytes())
    metrics = []
    for number, location in enumerate((str(corpus), f"{corpus}/**", f"{s3}/evaluated")):
        config = EvaluateConfig(
            bundle=str(bundle), input=location, output=str(tmp_path / f"out{number}"), attributions=0,
            engine="onnxruntime", variant="fp32",
        )  # fmt: skip
        assert not evaluate_bundle(config)["skipped"]
        assert evaluate_bundle(config)["skipped"]
        report = read_json(tmp_path / f"out{number}/evaluation.json")
        assert report["left_out_files"]["hidden_data"] == 1
        metrics.append(report["metrics"])
    assert metrics[0]["rows"] == 10
    assert metrics[0] == metrics[1] == metrics[2]

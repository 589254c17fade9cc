"""300 malformed and good files: no crash, no hang, every row accounted for, every good row scored."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.score import score_reviews
from sentiment_ray.score.verify import verify_scores
from tests.score.malformed import Case, write_malformed


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return write_malformed(tmp_path_factory.mktemp("malformed") / ".", seed=11)


@pytest.fixture(scope="module")
def result(cases: list[Case], bundle: Path, ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    output = tmp_path_factory.mktemp("scored") / "scores"
    config = ScoreConfig(
        bundle=str(bundle), input=str(cases[0].path.parent), output=str(output), text_column="body", max_quarantined=1,
        max_row_bytes=100_000, engine="onnxruntime", variant="fp32",
    )  # fmt: skip
    yield score_reviews(config)
    shutil.rmtree(output)


def _quarantined(scores: Path) -> list[dict[str, Any]]:
    return [row for path in (scores / "_quarantine").rglob("*.parquet") for row in parquet.read_table(path).to_pylist()]


def test_every_row_of_a_readable_footer_is_scored_or_quarantined_once(result: Any, cases: list[Case]) -> None:
    scores = Path(result["output"])
    assert verify_scores(str(scores))["verified"]
    assert len(cases) >= 300
    aside: dict[str, int] = {}
    for row in _quarantined(scores):
        aside[Path(row["path"]).name] = aside.get(Path(row["path"]).name, 0) + row["rows"]
    for case in cases:
        if case.path.is_dir():
            continue
        part = scores / case.path.name
        scored = parquet.ParquetFile(part.open("rb")).metadata.num_rows if part.is_file() else 0
        name = case.path.name.encode("utf-8", "replace").decode()
        assert part.is_file() or name in aside, case.name
        assert not (case.must_fail and scored), case.name
        if case.kind in ("good", "name", "texts", "invalid-utf8", "bomb") and case.num_rows and part.is_file():
            assert scored + aside.get(name, 0) == case.num_rows, case.name


def test_every_good_row_is_scored_beside_its_own_columns(result: Any, cases: list[Case]) -> None:
    good = [case for case in cases if case.kind == "good"]
    assert len(good) >= 5
    for case in good:
        with case.path.open("rb") as source, (Path(result["output"]) / case.path.name).open("rb") as part:
            before, after = parquet.ParquetFile(source).read(), parquet.ParquetFile(part).read()
        for name in before.column_names:
            assert after[name].to_pylist() == before[name].to_pylist(), (case.name, name)
        assert pa.compute.all(pa.compute.is_valid(after["sentiment_score"])).as_py()


def test_every_reason_says_what_is_wrong(result: Any) -> None:
    reasons = json.loads((Path(result["output"]) / "_MANIFEST.json").read_text())["quarantine_reasons"]
    assert all(len(reason) > 10 and "Traceback" not in reason for reason in reasons)
    known = ("text is null", "text is empty", "text is not valid UTF-8", "row is longer than", "not a Parquet file")
    assert all(any(reason.startswith(start) for reason in reasons) for start in known)

"""A bundle applies the cleaning steps of its training: raw texts get the scores of cleaned ones, bit for bit."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from export.build import export_bundle
from export.config import ExportConfig
from sentiment_ray import Predictor
from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.prepare import prepare_reviews
from sentiment_ray.evaluate.config import EvaluateConfig
from sentiment_ray.evaluate.evaluate import evaluate_bundle
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.manifest import hash_file
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.score import score_reviews
from sentiment_ray.text.cleaning import CLEANING_STEPS
from sentiment_ray.text.encoding import encode, load_encoder
from tests.conftest import LABELS
from tests.serve.connect import connect

CHOICE = {"engine": "onnxruntime", "variant": "fp32"}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, everyday: list[tuple[str, str]], run: Path) -> Path:
    """A directory with raw reviews, prepared with every cleaning step, and a bundle whose run has these steps."""
    directory = tmp_path_factory.mktemp("cleaned")
    (directory / "raw").mkdir()
    texts = [f"<p>@bob  {text}</p>&amp;lt;3 naÃ¯ve https://x.y/{n}?a=b" for n, (text, _) in enumerate(everyday)]
    columns = {"id": [str(n) for n in range(len(texts))], "text": texts, "label": [label for _, label in everyday]}
    parquet.write_table(pa.table(columns), directory / "raw/a.parquet")
    prepare_reviews(
        PrepareConfig(
            output=str(directory / "prepared"),
            sources=[{"path": str(directory / "raw/a.parquet"), "id_column": "id"}],
            clean=tuple(CLEANING_STEPS),
        )
    )
    shutil.copytree(run, directory / "run")
    trained = json.loads((directory / "run/run.json").read_text())
    trained["steps"] = json.loads((directory / "prepared/prepared.json").read_text())["steps"]
    trained["config"]["prepared"] = str(directory / "prepared")
    trained["made_from"]["prepared"] = hash_file(directory / "prepared/prepared.json")
    (directory / "run/run.json").write_text(json.dumps(trained))
    export_bundle(
        ExportConfig(
            run=str(directory / "run"), output=str(directory / "bundle"), variants=("fp32",), batch_rows=8, threads=2
        )
    )
    return directory


@pytest.fixture(scope="module")
def predictor(chain: Path) -> Predictor:
    return Predictor.load(chain / "bundle", threads=2, **CHOICE)


@pytest.fixture(scope="module")
def rows(chain: Path) -> dict[str, list[Any]]:
    """The test split, with the raw texts that it was prepared from."""
    raw = dict(zip(*(parquet.read_table(chain / "raw")[name].to_pylist() for name in ("id", "text")), strict=True))
    test = parquet.read_table(chain / "prepared/test").to_pydict()
    return test | {"raw": [raw[identity] for identity in test["id"]]}


@pytest.fixture(scope="module")
def expected(predictor: Predictor, rows: dict[str, list[Any]]) -> Scores:
    return predictor.score(rows["text"])


def test_the_cleaning_steps_reach_the_bundle(chain: Path, rows: dict[str, list[Any]]) -> None:
    for manifest in ("prepared/prepared.json", "bundle/bundle.json"):
        assert json.loads((chain / manifest).read_text())["steps"] == list(CLEANING_STEPS)
    assert "after the cleaning steps unescape_html, strip_tags," in (chain / "bundle/README.md").read_text()
    assert all(text.startswith("@user ") and text.endswith("<3 naïve http") for text in rows["text"])


def test_prepared_texts_are_not_changed_by_cleaning_them_again(chain: Path, rows: dict[str, list[Any]]) -> None:
    """With the steps, as training encodes them, prepared texts have the same tokens as without."""
    path = chain / "bundle/tokenizer.json"
    with_steps = encode(load_encoder(path, max_tokens=32, cleaning_steps=tuple(CLEANING_STEPS)), rows["text"])
    without = encode(load_encoder(path, max_tokens=32), rows["text"])
    assert all(np.array_equal(*ids) for ids in zip(with_steps.ids, without.ids, strict=True))
    raw = encode(load_encoder(path, max_tokens=32), rows["raw"])
    assert not any(np.array_equal(*ids) for ids in zip(raw.ids, without.ids, strict=True))


def test_predictor_and_service_give_raw_texts_the_scores_of_cleaned_ones(
    predictor: Predictor, chain: Path, rows: dict[str, list[Any]], expected: Scores
) -> None:
    scores = predictor.score(rows["raw"])
    assert np.array_equal(scores.logits, expected.logits)
    assert np.array_equal(scores.tokens, expected.tokens)
    with connect(predictor) as client:
        answers = client.post("/predict", json={"inputs": rows["raw"]}).json()
        assert client.get("/info").json()["steps"] == list(CLEANING_STEPS)
    assert [answer[0]["label"] for answer in answers] == [LABELS[label_id] for label_id in expected.label_ids]
    assert np.array_equal(
        np.array([max(each["score"] for each in answer) for answer in answers], np.float32),
        expected.probabilities.max(axis=1),
    )


def test_bulk_scoring_gives_raw_texts_the_scores_of_cleaned_ones(
    chain: Path, rows: dict[str, list[Any]], expected: Scores, tmp_path: Path
) -> None:
    score_reviews(
        ScoreConfig(bundle=str(chain / "bundle"), input=str(chain / "raw"), output=str(tmp_path / "scores"), **CHOICE)
    )
    table = parquet.read_table(sorted((tmp_path / "scores").glob("*.parquet"))).to_pydict()
    assert dict(zip(table["id"], table["text"], strict=True)).items() >= set(zip(rows["id"], rows["raw"], strict=True))
    scores = dict(zip(table["id"], table["sentiment_score"], strict=True))
    assert [scores[identity] for identity in rows["id"]] == expected.probabilities.max(axis=1).tolist()


def test_the_evaluation_of_raw_rows_equals_that_of_prepared_ones(
    chain: Path, rows: dict[str, list[Any]], tmp_path: Path
) -> None:
    raw = {"id": rows["id"], "text": rows["raw"], "label": rows["label"], "source": rows["source"]}
    parquet.write_table(pa.table(raw), tmp_path / "raw.parquet")
    metrics = []
    for name, path in (("clean", chain / "prepared/test"), ("raw", tmp_path / "raw.parquet")):
        config = EvaluateConfig(bundle=str(chain / "bundle"), input=str(path), output=str(tmp_path / name), **CHOICE)
        evaluate_bundle(config)
        metrics.append(json.loads((tmp_path / name / "evaluation.json").read_text())["metrics"])
    assert metrics[0] == metrics[1]

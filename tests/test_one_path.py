"""The same 5,000 rows get the same labels and probabilities, bit for bit, from every part of the project."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from pyarrow import parquet

from export.config import ExportConfig
from export.gate import check
from export.held_out import HeldOut
from sentiment_ray import Predictor
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.evaluate.config import EvaluateConfig
from sentiment_ray.evaluate.evaluate import evaluate_bundle
from sentiment_ray.inference.behaviour import load_cases
from sentiment_ray.inference.engines import load_engine
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.score import score_reviews
from sentiment_ray.text.encoding import load_encoder
from tests.conftest import LABELS, NASTY_TEXTS
from tests.serve.connect import connect

NUM_ROWS = 5000
CHOICE = {"engine": "onnxruntime", "variant": "fp32"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, everyday: list[tuple[str, str]]) -> Path:
    """A directory with one file: real sentences, single and in pairs, and nasty texts."""
    texts = [text for text, _ in everyday]
    pairs = [f"{first} {second}" for first, second in product(texts[:80], texts)]
    chosen = [*NASTY_TEXTS, *texts, *pairs][:NUM_ROWS]
    directory = tmp_path_factory.mktemp("rows")
    labels = [LABELS[row % len(LABELS)] for row in range(NUM_ROWS)]
    columns = {"row": range(NUM_ROWS), "text": chosen, "label": labels}
    parquet.write_table(pa.table(columns), directory / "rows.parquet", row_group_size=700)
    return directory


@pytest.fixture(scope="module")
def texts(rows: Path) -> list[str]:
    return parquet.read_table(rows)["text"].to_pylist()


@pytest.fixture(scope="module")
def expected(predictor: Predictor, texts: list[str]) -> Scores:
    return predictor.score(texts)


def _assert_equal(table: pa.Table, expected: Scores) -> None:
    """Compare the columns that a job wrote with a Predictor's scores, in the order of `row`."""
    table = table.sort_by("row")
    assert table.num_rows == NUM_ROWS
    assert table["sentiment_label"].to_pylist() == [LABELS[label_id] for label_id in expected.label_ids]
    for label, probabilities in zip(LABELS, expected.probabilities.T, strict=True):
        column = table[f"sentiment_{label}"].to_numpy()
        assert column.dtype == np.float32
        assert np.array_equal(column, probabilities)


def test_bulk_scoring(bundle: Path, rows: Path, expected: Scores, tmp_path: Path, ray_cluster: None) -> None:
    config = ScoreConfig(
        bundle=str(bundle), input=str(rows), output=str(tmp_path / "scores"), unit_rows=1400, num_workers=2, **CHOICE
    )
    score_reviews(config)
    _assert_equal(parquet.read_table(sorted((tmp_path / "scores").glob("*.parquet"))), expected)


def test_evaluation(bundle: Path, rows: Path, expected: Scores, tmp_path: Path) -> None:
    config = EvaluateConfig(
        bundle=str(bundle), input=str(rows), output=str(tmp_path / "evaluation"), examples=NUM_ROWS, **CHOICE
    )
    evaluate_bundle(config)
    _assert_equal(parquet.read_table(tmp_path / "evaluation/uncertain.parquet"), expected)


def test_the_gate(bundle: Path, texts: list[str], predictor: Predictor, expected: Scores) -> None:
    cases = load_cases()
    held_out = HeldOut(
        texts=texts,
        label_ids=expected.label_ids,
        scores=expected,
        cases=cases,
        case_scores=predictor.score([case.text for case in cases]),
        temperature=predictor.manifest.temperature,
    )
    engine = load_engine("onnxruntime", open_bundle(bundle).model("fp32"), threads=2, source="model.onnx")
    encoder = load_encoder(bundle / "tokenizer.json", max_tokens=predictor.manifest.max_tokens)
    config = ExportConfig(run="", output="", batch_rows=1)
    result = check(engine, encoder, held_out, LABELS, config)
    assert (result.gate["label_agreement"], result.gate["max_probability_difference"]) == (1, 0)
    assert np.array_equal(result.scores.probabilities, expected.probabilities)


@pytest.fixture(scope="module")
def client(predictor: Predictor, bundle: Path) -> Iterator[TestClient]:
    with connect(predictor) as client:
        yield client


def test_the_service(client: TestClient, texts: list[str], expected: Scores) -> None:
    answers = []
    for start in range(0, NUM_ROWS, 500):
        answers += client.post("/predict", json={"inputs": texts[start : start + 500]}).json()
    labels = [answer[0]["label"] for answer in answers]
    assert labels == [LABELS[label_id] for label_id in expected.label_ids]
    assert np.array_equal(_probabilities(answers), expected.probabilities)


def _probabilities(answers: list[list[dict[str, float]]]) -> NDArray[np.float32]:
    by_label = [{row["label"]: row["score"] for row in answer} for answer in answers]
    return np.array([[row[label] for label in LABELS] for row in by_label], dtype=np.float32)


def test_texts_scored_one_by_one(predictor: Predictor, texts: list[str], expected: Scores) -> None:
    alone = [predictor.score([text]).probabilities[0] for text in texts[::10]]
    assert np.array_equal(np.array(alone), expected.probabilities[::10])

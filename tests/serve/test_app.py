"""The service follows the contract of text-embeddings-inference and gives the scores of the scoring job."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pyarrow import parquet

from sentiment_ray import Predictor
from tests.conftest import LABELS, NASTY_TEXTS
from tests.serve.connect import connect


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> Iterator[TestClient]:
    with connect(predictor, max_texts=300, max_body_bytes=1_000_000) as client:
        yield client


def _scores(answer: list[dict[str, Any]]) -> dict[str, float]:
    return {row["label"]: row["score"] for row in answer}


def test_one_string_gives_a_flat_list_best_first(client: TestClient) -> None:
    answer = client.post("/predict", json={"inputs": "I love this little shop."}).json()
    assert {row["label"] for row in answer} == set(LABELS)
    assert [row["score"] for row in answer] == sorted((row["score"] for row in answer), reverse=True)


def test_nested_and_flat_lists_give_a_list_of_lists(client: TestClient) -> None:
    nested = client.post("/predict", json={"inputs": [["tea"], ["milk"]]}).json()
    flat = client.post("/predict", json={"inputs": ["tea", "milk"]}).json()
    assert len(nested) == 2
    assert nested == flat


def test_answers_equal_the_scores_of_the_job(client: TestClient, scores: Path) -> None:
    for path in scores.glob("year=*/*.parquet"):
        rows = parquet.read_table(path).to_pylist()
        answers = client.post("/predict", json={"inputs": [row["body"] for row in rows]}).json()
        for row, answer in zip(rows, answers, strict=True):
            assert answer[0]["label"] == row["sentiment_label"]
            assert _scores(answer) == pytest.approx({label: row[f"sentiment_{label}"] for label in LABELS}, abs=1e-5)


def test_raw_scores_are_logits(client: TestClient, predictor: Predictor) -> None:
    answer = client.post("/predict", json={"inputs": "tea", "raw_scores": True}).json()
    expected = dict(zip(LABELS, predictor.score(["tea"]).logits[0].tolist(), strict=True))
    assert _scores(answer) == pytest.approx(expected, abs=1e-5)


def test_nasty_texts_are_answered(client: TestClient) -> None:
    assert len(client.post("/predict", json={"inputs": [[text] for text in NASTY_TEXTS]}).json()) == len(NASTY_TEXTS)


def test_a_text_that_would_be_cut_is_refused_when_the_request_says_so(client: TestClient) -> None:
    refused = client.post("/predict", json={"inputs": "word " * 100, "truncate": False})
    assert refused.status_code == 422
    assert refused.json()["error"].startswith("inputs has more than 32 tokens")


def test_health_is_ok_and_info_describes_the_bundle(client: TestClient, predictor: Predictor) -> None:
    assert client.get("/health").status_code == 200
    info = client.get("/info").json()
    assert info["bundle_id"] == predictor.manifest.bundle_id
    assert info["max_input_length"] == 32

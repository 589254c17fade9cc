"""The service follows the contract of text-embeddings-inference and gives the scores of the scoring job."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pyarrow import parquet

from sentiment_ray import Predictor
from sentiment_ray.errors import ConfigError
from sentiment_ray.serve.app import create_app
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.server import serve
from tests.conftest import LABELS, NASTY_TEXTS


@pytest.fixture(scope="module")
def client(predictor: Predictor, bundle: Path) -> Iterator[TestClient]:
    config = ServeConfig(bundle=str(bundle), max_texts=300, max_body_bytes=1_000_000)
    with TestClient(create_app(predictor, config, api_key=None)) as client:
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


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/predict", b'{"inputs": "\xff"}', 400),
        ("GET", "/predict", b"", 405),
        ("POST", "/nowhere", b"{}", 404),
        ("POST", "/predict", b'{"inputs": ', 422),
    ],
)
def test_every_error_has_the_form_of_the_contract(
    client: TestClient, method: str, path: str, body: bytes, status: int
) -> None:
    answer = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "error_type"}


def test_nasty_texts_are_answered(client: TestClient) -> None:
    assert len(client.post("/predict", json={"inputs": [[text] for text in NASTY_TEXTS]}).json()) == len(NASTY_TEXTS)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"inputs": []}, 422, "inputs is empty"),
        ({"inputs": [["a", "b"]]}, 422, "exactly one text"),
        ({"inputs": ["a"] * 301}, 422, "at most 300"),
        ({"inputs": 3}, 422, "inputs"),
        ({}, 422, "inputs"),
        ({"inputs": "a", "unknown": 1}, 422, "unknown"),
        ({"inputs": "word " * 100, "truncate": False}, 413, "more than 32 tokens"),
    ],
)
def test_an_invalid_request_is_answered_with_what_is_wrong(
    client: TestClient, body: dict[str, Any], status: int, message: str
) -> None:
    response = client.post("/predict", json=body)
    assert response.status_code == status
    assert message in response.json()["error"]
    assert response.json()["error_type"]


def test_a_body_that_is_not_json_is_answered_with_an_error(client: TestClient) -> None:
    response = client.post("/predict", content=b'{"inputs', headers={"content-type": "application/json"})
    assert response.status_code == 422


def test_health_is_ok_and_info_describes_the_bundle(client: TestClient, predictor: Predictor) -> None:
    assert client.get("/health").status_code == 200
    info = client.get("/info").json()
    assert info["bundle_id"] == predictor.manifest.bundle_id
    assert info["max_input_length"] == 32


def test_an_address_for_other_machines_needs_a_key(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--api-key-file"):
        serve(ServeConfig(bundle=str(bundle), host="0.0.0.0"))
    with pytest.raises(ConfigError, match="cannot be read"):
        serve(ServeConfig(bundle=str(bundle), api_key_file=str(tmp_path / "nowhere")))

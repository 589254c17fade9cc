"""The examples of embedding a bundle run as they are, and answer as the predictor does."""

import runpy
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from sentiment_ray import Predictor

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "tests/golden/bundle"


def test_a_fastapi_app_answers_with_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUNDLE", str(BUNDLE))
    example = runpy.run_path(str(ROOT / "examples/embed_in_fastapi.py"))
    texts = ["The bus leaves at nine.", "I love this little shop."]
    with TestClient(example["app"]) as client:
        answers = client.post("/reviews", json=texts).json()
        assert client.post("/reviews", json=[]).json() == []
        assert client.post("/reviews", json="a text").status_code == 422
    expected = Predictor.load(BUNDLE).predict(texts)
    for answer, prediction in zip(answers, expected, strict=True):
        assert answer["label"] == prediction.label
        assert answer["probabilities"] == pytest.approx(asdict(prediction)["probabilities"])


def test_a_program_classifies_reviews_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["embed_in_asyncio.py", str(BUNDLE)])
    example = runpy.run_path(str(ROOT / "examples/embed_in_asyncio.py"))
    lines = capsys.readouterr().out.splitlines()
    expected = Predictor.load(BUNDLE).predict(example["REVIEWS"])
    assert [line.split()[0] for line in lines] == [prediction.label for prediction in expected]

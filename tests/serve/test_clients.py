"""Clients that people already have get the answers of `Predictor.score` from a running service, with and without a key.

`make test` installs them: most of those of Python in an environment of their own, because their libraries are not ours.
"""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sentiment_ray import Predictor
from tests.serve.conftest import RunningService

ROOT = Path(__file__).parents[2]
CLIENTS = Path(__file__).parent / "clients"
PINNED, NEWEST = Path(sys.executable), ROOT / ".venv-clients/bin/python"
TEXT = "What a good day!"
TEXTS = [TEXT, "nul \0 inside", "\u2028 caf\u0065\u0301 \ufeff"]


def _ask(service: RunningService, script: str, *interpreter: str) -> dict[str, Any]:
    """Run one of the scripts in `clients` and return what it prints."""
    command = [*interpreter, str(CLIENTS / script), service.url, *([service.key] if service.key else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=CLIENTS)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def _rank(golden: Predictor, function: str = "softmax") -> list[tuple[str, float]]:
    """Return the expected labels and scores of `TEXT`, the best first."""
    logits = golden.score([TEXT]).logits[0]
    values = {
        "softmax": golden.score([TEXT]).probabilities[0],
        "sigmoid": np.asarray(1 / (1 + np.exp(-logits)), np.float32),
        "none": logits,
    }[function]
    return sorted(zip(golden.labels, values.tolist(), strict=True), key=lambda pair: -pair[1])


def _to_pairs(elements: list[dict[str, Any]]) -> list[tuple[str, float]]:
    return [(element["label"], element["score"]) for element in elements]


@pytest.fixture(scope="module")
def newest() -> str:
    if not NEWEST.exists():
        pytest.fail(f"{NEWEST} is missing. Run `make test`, or `make .venv-clients/.installed` before pytest.")
    return str(NEWEST)


@pytest.mark.parametrize("version", ["pinned", "newest"])
def test_huggingface_hub(running: RunningService, golden: Predictor, version: str, newest: str) -> None:
    answers = _ask(running, "ask_hugging_face.py", newest if version == "newest" else str(PINNED))
    assert (int(answers["version"].partition(".")[0]) >= 2) == (version == "newest")
    for name, function in {"plain": "softmax", "async": "softmax", "sigmoid": "sigmoid", "none": "none"}.items():
        assert [tuple(pair) for pair in answers[name]] == _rank(golden, function), name
    assert [tuple(pair) for pair in answers["top_k"]] == _rank(golden)[:1]
    assert answers["info"]["model_sha"] == golden.manifest.bundle_id
    assert answers["health"] is True
    assert answers["error"] == 400


def test_the_javascript_client(running: RunningService, golden: Predictor) -> None:
    if not (CLIENTS / "node_modules").is_dir():
        pytest.fail("The client for Node is missing. Run `make test`, or `npm ci` in tests/serve/clients.")
    answers = _ask(running, "ask_hugging_face.mjs", "node")
    assert _to_pairs(answers["plain"]) == _to_pairs(answers["function"]) == _rank(golden)
    assert _to_pairs(answers["top_k"]) == _rank(golden)[:1]
    assert _to_pairs(answers["none"]) == _rank(golden, "none")
    assert answers["error"]["status"] == 400
    assert "No text in inputs" in answers["error"]["message"]


@pytest.fixture(scope="module")
def open_inference(running: RunningService, newest: str) -> dict[str, Any]:
    return _ask(running, "ask_open_inference.py", newest)


@pytest.fixture(scope="module")
def expected(golden: Predictor) -> dict[str, Any]:
    scores = golden.score(TEXTS)
    labels = [golden.labels[label_id] for label_id in scores.label_ids]
    return {"label": labels, "probabilities": scores.probabilities.tolist()}


def test_tritonclient(open_inference: dict[str, Any], expected: dict[str, Any], golden: Predictor) -> None:
    answers = open_inference["tritonclient"]
    assert answers["live"] and answers["ready"] and answers["model_ready"]
    assert answers["server"]["extensions"] == ["binary_tensor_data"]
    assert answers["metadata"]["versions"] == ["1", golden.manifest.bundle_id]
    for name in [name for name in answers if "bytes" in name or name == "default outputs"]:
        assert answers[name] == expected, name
    assert answers["error"] == {
        "status": "404",
        "message": "There is no model 'other'. The model is called 'sentiment'.",
    }


def test_kserve(open_inference: dict[str, Any], expected: dict[str, Any]) -> None:
    answers = open_inference["kserve"]
    assert answers["live"] and answers["ready"] and answers["model_ready"]
    assert answers["bytes: True"] == answers["bytes: False"] == expected
    assert answers["error"]["status"] == 422
    assert "inputs is no list of one tensor" in answers["error"]["message"]


def test_open_inference_openapi(open_inference: dict[str, Any], expected: dict[str, Any]) -> None:
    answers = open_inference["open-inference-openapi"]
    assert answers["answer"] == expected
    assert answers["server"]["name"] == "sentiment-ray"
    assert answers["metadata"]["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]


def test_pydantic_open_inference(open_inference: dict[str, Any], expected: dict[str, Any]) -> None:
    answers = open_inference["pydantic-open-inference"]
    assert answers == {"ready": True, "answer": expected}


def test_a_client_generated_from_the_openapi_document(running: RunningService, golden: Predictor, newest: str) -> None:
    answers = _ask(running, "ask_generated.py", newest)
    assert "WARNING" not in answers["said"]
    ranked = _rank(golden)
    assert _to_pairs(answers["predict"]) == _to_pairs(answers["vertex"]) == ranked
    assert [_to_pairs(ranking) for ranking in answers["predict_batch"]] == [ranked, ranked]
    assert answers["refused"]["error_type"] == "Empty"
    assert answers["infer"]["outputs"][0]["data"] == [ranked[0][0]]
    assert answers["info"]["bundle_id"] == golden.manifest.bundle_id


def test_prometheus_reads_the_metrics(running: RunningService) -> None:
    headers = {"Authorization": f"Bearer {running.key}"} if running.key else {}
    with urllib.request.urlopen(
        urllib.request.Request(f"{running.url}/metrics", headers=headers), timeout=10
    ) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    assert any(family.name.startswith("sentiment_ray") for family in families)
    assert all(family.documentation for family in families)

"""An encoder that is not fine-tuned becomes a bundle that answers with the nearest label, with every engine."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from export.config import ExportConfig
from jobs.export_bundle import main
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.errors import ConfigError
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.labels import describe_labels
from sentiment_ray.pretrained.base_encoder import load_base
from sentiment_ray.train.embedding import embed

LABELS = ("Negative", "Neutral", "Positive")
TEXTS = ["This is a cherry pie.", "x", "The delivery took three weeks and the box was open. " * 20]


@pytest.fixture(scope="module")
def nearest(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the tiny encoder."""
    work = tmp_path_factory.mktemp("nearest")
    config = work / "base.toml"
    config.write_text(f'[export]\noutput = "{work}/bundle"\nvariants = ["fp32", "optimized"]\n[export.metadata]\n'
                      'system_messages = ["One word."]\nsource = "a test"\n')  # fmt: skip
    flags = ["--config", str(config), "--encoder", str(tiny_encoder), "--labels", ",".join(LABELS)]
    main([*flags], standalone_mode=False)
    return work / "bundle"


def test_the_probabilities_are_those_of_the_cosines(nearest: Path, tiny_encoder: Path) -> None:
    network, encoder = load_base(str(tiny_encoder), max_tokens=256)
    cosines = embed(network, encoder, TEXTS) @ embed(network, encoder, describe_labels(LABELS)).T
    exponents = np.exp(20.0 * cosines)
    expected = exponents / exponents.sum(axis=1, keepdims=True)
    manifest = open_bundle(nearest).manifest
    pairs = [(name, engine) for name, variant in manifest.variants.items() for engine in variant.gate]
    assert {engine for _, engine in pairs} == {"onnxruntime", "openvino"}
    assert {name for name, _ in pairs} == {"fp32", "optimized"}
    for variant, engine in pairs:
        scores = Predictor.load(nearest, engine=engine, variant=variant).score(TEXTS)
        assert scores.probabilities == pytest.approx(expected, abs=0.01 if engine == "openvino" else 1e-4)


def test_the_manifest_says_how_it_answers(nearest: Path, tiny_encoder: Path) -> None:
    manifest = open_bundle(nearest).manifest
    assert manifest.labels == LABELS
    assert manifest.training["method"] == "nearest label by embedding"
    assert (manifest.training["model"], manifest.training["model_source"]) == (tiny_encoder.name, "directory")
    assert manifest.metadata == {"system_messages": ("One word.",), "source": "a test"}
    assert manifest.reference == {}
    assert "without any fine-tuning" in (nearest / "README.md").read_text()
    assert json.loads((nearest / "config.json").read_text())["id2label"] == {
        "0": "Negative",
        "1": "Neutral",
        "2": "Positive",
    }


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "the key 'run' is missing"),
        (["--encoder", "e"], "labels and encoder belong together"),
        (["--run", "r", "--labels", "a,b"], "labels and encoder belong together"),
        (["--run", "r", "--encoder", "e", "--labels", "a,b"], "encoder stands instead of run"),
        (["--encoder", "e", "--labels", "a,b", "--variants", "fp32,int8_static"], "int8_static needs reviews"),
        (["--encoder", "{encoder}", "--labels", "a,a"], "give two or more different names"),
    ],
)
def test_what_cannot_be_exported(flags: list[str], message: str, tiny_encoder: Path, tmp_path: Path) -> None:
    flags = [flag.format(encoder=tiny_encoder) for flag in flags]
    with pytest.raises(ConfigError, match=message):
        main(["--output", str(tmp_path / "bundle"), *flags], standalone_mode=False)


@pytest.mark.parametrize("texts", [["x" * 1024] * 1025, ["x"] * 10_001])
def test_metadata_has_a_bound(texts: list[str]) -> None:
    with pytest.raises(ValidationError, match="texts and .* characters, at most 10,000 and 1,048,576 are kept"):
        ExportConfig(output="bundle", run="run", metadata={"system_messages": texts})

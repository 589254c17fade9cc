"""The Predictor answers as its checkpoint does, with every engine and for every text."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas
import pytest

from sentiment_ray import Predictor
from sentiment_ray.errors import ConfigError, DataError, MissingExtraError, SelfTestError
from sentiment_ray.inference.scoring import compute_probabilities
from tests.conftest import LABELS, NASTY_TEXTS


def test_probabilities_sum_to_one_and_the_label_has_the_largest(predictor: Predictor) -> None:
    for prediction in predictor.predict(["The bus leaves at nine.", *NASTY_TEXTS]):
        assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert prediction.score == max(prediction.probabilities.values()) == prediction.probabilities[prediction.label]
        assert tuple(prediction.probabilities) == LABELS


def test_answers_come_in_the_order_of_the_texts(predictor: Predictor, everyday: list[tuple[str, str]]) -> None:
    texts = [text for text, _ in everyday]
    in_batches = predictor.score(texts, tokens_per_batch=128)
    alone = np.concatenate([predictor.score([text]).probabilities for text in texts])
    np.testing.assert_allclose(in_batches.probabilities, alone, atol=1e-5)


def test_answers_equal_those_of_the_checkpoint_in_transformers(
    predictor: Predictor, run: Path, everyday: list[tuple[str, str]]
) -> None:
    import torch
    from transformers import pipeline

    checkpoint = str(run / json.loads((run / "run.json").read_text())["best"]["checkpoint"])
    texts = [text for text, _ in everyday[:50]]
    classify = pipeline("text-classification", model=checkpoint, top_k=None)
    classifier = classify.model.classifier
    with torch.no_grad():  # the bundle's probabilities are calibrated
        classifier.weight /= predictor.manifest.temperature
        classifier.bias /= predictor.manifest.temperature
    expected = classify(texts, truncation=True, max_length=32)
    for prediction, answer in zip(predictor.predict(texts), expected, strict=True):
        assert prediction.probabilities == pytest.approx({row["label"]: row["score"] for row in answer}, abs=1e-4)


def test_every_variant_and_engine_that_passed_its_gate_gives_nearly_the_same_probabilities(
    bundle: Path, predictor: Predictor
) -> None:
    texts = ["The bus leaves at nine.", "I love this little shop.", *NASTY_TEXTS]
    expected = predictor.score(texts).probabilities
    for name, variant in predictor.manifest.variants.items():
        for engine, gate in variant.gate.items():
            if gate["passed"]:
                other = Predictor.load(bundle, engine=engine, variant=name, threads=2).score(texts).probabilities
                np.testing.assert_allclose(other, expected, atol=0.1 if variant.precision == "int8" else 0.02)


def test_auto_loads_the_default_of_the_bundle(bundle: Path) -> None:
    predictor = Predictor.load(bundle)
    default = predictor.manifest.defaults["cpu"]
    assert (predictor.engine, predictor.variant) == (default.engine, default.variant)


def _copy_with_failing_self_test(bundle: Path, copy: Path, *, passing: list[tuple[str, str]]) -> Path:
    """Copy a bundle so that its self-test fails with all pairs of engine and variant but those of `passing`."""
    shutil.copytree(bundle, copy)
    manifest = json.loads((copy / "bundle.json").read_text())
    test = manifest["self_test"]
    test["probabilities"] = [[0.0, 0.0, 1.0] if row[2] < 0.5 else [1.0, 0.0, 0.0] for row in test["probabilities"]]
    for name, engines in test["differences"].items():
        engines.update({engine: 1.0 if (engine, name) in passing else 0.0 for engine in engines})
    (copy / "bundle.json").write_text(json.dumps(manifest))
    return copy


def test_auto_skips_what_fails_the_self_test_on_this_processor(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    default = Predictor.load(bundle).manifest.defaults["cpu"]
    other = ("onnxruntime" if default.engine == "openvino" else "openvino", "fp32")
    predictor = Predictor.load(_copy_with_failing_self_test(bundle, tmp_path / "copy", passing=[other]))
    assert (predictor.engine, predictor.variant) == other
    assert "on this processor probabilities are up to" in caplog.text
    with pytest.raises(SelfTestError, match="Name another engine or variant"):
        Predictor.load(tmp_path / "copy", engine=default.engine, variant=default.variant)


def test_a_bundle_of_which_everything_fails_the_self_test_is_not_loaded(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(SelfTestError):
        Predictor.load(_copy_with_failing_self_test(bundle, tmp_path / "copy", passing=[]))


def test_columns_of_texts_are_accepted_like_lists(predictor: Predictor) -> None:
    texts = ["tea", "a fine day", "never again"]
    expected = predictor.predict(texts)
    for column in (pandas.Series(texts), np.array(texts, dtype=object), tuple(texts), iter(texts)):
        assert predictor.predict(column) == expected
    with pytest.raises(DataError, match="texts is str, not a list of texts"):
        predictor.score("tea")


def test_no_texts_give_no_answers(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


@pytest.mark.parametrize(
    ("texts", "message"), [(["good", None], r"texts\[1\] is NoneType"), ("good", "not a list of texts")]
)
def test_anything_but_a_list_of_texts_is_refused(predictor: Predictor, texts: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        predictor.predict(texts)  # type: ignore[arg-type]


@pytest.mark.parametrize(("choice", "error"), [({"engine": "tpu"}, ConfigError), ({"variant": "fp8"}, ConfigError)])
def test_an_unknown_engine_or_variant_is_refused_by_name(
    bundle: Path, choice: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(choice.values()))):
        Predictor.load(bundle, **choice)


@pytest.mark.parametrize("engine", ["cuda", "tensorrt"])
def test_a_gpu_engine_without_a_gpu_is_refused_by_name(
    bundle: Path, engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MissingExtraError, match=f"engine = '{engine}'.*pip install"):
        Predictor.load(bundle, engine=engine)
    assert capfd.readouterr().out == ""


def test_softmax_of_huge_logits_is_finite() -> None:
    np.testing.assert_allclose(compute_probabilities(np.array([[1e4, 0, -1e4]], dtype=np.float32)), [[1, 0, 0]])

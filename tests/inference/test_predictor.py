"""The Predictor answers as the checkpoint does, whatever engine, batch or text."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas
import pytest

from sentiment_ray import Predictor
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.errors import ConfigError, DataError, MissingExtraError, SelfTestError
from sentiment_ray.inference.engines import load_engine
from sentiment_ray.inference.predictor import probabilities_of, score_texts
from sentiment_ray.text.encoding import load_encoder
from tests.conftest import LABELS, NASTY_TEXTS


def test_probabilities_sum_to_one_and_the_label_is_the_largest(predictor: Predictor) -> None:
    for prediction in predictor.predict(["The bus leaves at nine.", *NASTY_TEXTS]):
        assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert prediction.score == max(prediction.probabilities.values()) == prediction.probabilities[prediction.label]
        assert tuple(prediction.probabilities) == LABELS


def test_answers_come_in_the_order_of_the_texts(predictor: Predictor, everyday: list[tuple[str, str]]) -> None:
    texts = [text for text, _ in everyday]
    together = predictor.score(texts, tokens_per_batch=128)
    alone = np.concatenate([predictor.score([text]).probabilities for text in texts])
    np.testing.assert_allclose(together.probabilities, alone, atol=1e-5)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_text_that_is_padded_has_the_same_bits_alone_and_in_company(
    bundle: Path, everyday: list[tuple[str, str]], engine: str
) -> None:
    encoder = load_encoder(bundle / "tokenizer.json", max_tokens=64)
    loaded = load_engine(engine, open_bundle(bundle).model("fp32"), threads=2, source="model.onnx")
    sentences = [text for text, _ in everyday]
    texts = [" ".join(sentences[start : start + 4]) for start in range(180)]
    together = score_texts(loaded, encoder, texts)
    assert len(set(together.tokens[together.tokens > 48].tolist())) > 3
    alone = [score_texts(loaded, encoder, [text]).logits[0] for text in texts]
    assert np.array_equal(together.logits, alone)


def test_answers_are_those_of_the_checkpoint(predictor: Predictor, run: Path, everyday: list[tuple[str, str]]) -> None:
    import torch
    from transformers import pipeline

    checkpoint = str(run / json.loads((run / "run.json").read_text())["best"]["checkpoint"])
    texts = [text for text, _ in everyday[:50]]
    ask = pipeline("text-classification", model=checkpoint, top_k=None)
    classifier = ask.model.classifier
    with torch.no_grad():  # the bundle's probabilities are calibrated
        classifier.weight /= predictor.manifest.temperature
        classifier.bias /= predictor.manifest.temperature
    theirs = ask(texts, truncation=True, max_length=32)
    for prediction, answer in zip(predictor.predict(texts), theirs, strict=True):
        assert prediction.probabilities == pytest.approx({row["label"]: row["score"] for row in answer}, abs=1e-4)


def test_every_variant_and_engine_that_passed_gives_nearly_the_same(bundle: Path, predictor: Predictor) -> None:
    texts = ["The bus leaves at nine.", "I love this little shop.", *NASTY_TEXTS]
    expected = predictor.score(texts).probabilities
    for name, variant in predictor.manifest.variants.items():
        for engine, gate in variant.gate.items():
            if gate["passed"]:
                found = Predictor.load(bundle, engine=engine, variant=name, threads=2).score(texts).probabilities
                np.testing.assert_allclose(found, expected, atol=0.1 if variant.precision == "int8" else 0.02)


def test_auto_loads_what_the_bundle_names_as_default(bundle: Path) -> None:
    predictor = Predictor.load(bundle)
    default = predictor.manifest.defaults["cpu"]
    assert (predictor.engine, predictor.variant) == (default.engine, default.variant)


def _as_if_computed_elsewhere(bundle: Path, copy: Path, *, right: list[tuple[str, str]]) -> Path:
    """Copy a bundle whose self-test fails here with all engines and variants but those pairs that are `right`."""
    shutil.copytree(bundle, copy)
    manifest = json.loads((copy / "bundle.json").read_text())
    test = manifest["self_test"]
    test["probabilities"] = [[0.0, 0.0, 1.0] if row[2] < 0.5 else [1.0, 0.0, 0.0] for row in test["probabilities"]]
    for name, engines in test["differences"].items():
        engines.update({engine: 1.0 if (engine, name) in right else 0.0 for engine in engines})
    (copy / "bundle.json").write_text(json.dumps(manifest))
    return copy


def test_what_answers_otherwise_on_this_processor_is_passed_over(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    default = Predictor.load(bundle).manifest.defaults["cpu"]
    other = ("onnxruntime" if default.engine == "openvino" else "openvino", "fp32")
    found = Predictor.load(_as_if_computed_elsewhere(bundle, tmp_path / "copy", right=[other]))
    assert (found.engine, found.variant) == other
    assert "on this processor probabilities are up to" in caplog.text
    with pytest.raises(SelfTestError, match="Name another engine or variant"):
        Predictor.load(tmp_path / "copy", engine=default.engine, variant=default.variant)


def test_when_nothing_answers_as_at_the_export_nothing_is_loaded(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(SelfTestError):
        Predictor.load(_as_if_computed_elsewhere(bundle, tmp_path / "copy", right=[]))


def test_columns_of_texts_are_answered_as_lists_are(predictor: Predictor) -> None:
    texts = ["tea", "a fine day", "never again"]
    expected = predictor.predict(texts)
    for column in (pandas.Series(texts), np.array(texts, dtype=object), tuple(texts), iter(texts)):
        assert predictor.predict(column) == expected
    with pytest.raises(DataError, match="texts is str, not a list of texts"):
        predictor.score("tea")


def test_no_texts_give_no_answers(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


@pytest.mark.parametrize(
    ("texts", "found"), [(["good", None], r"texts\[1\] is NoneType"), ("good", "takes a list of texts")]
)
def test_what_is_no_list_of_texts_is_refused(predictor: Predictor, texts: object, found: str) -> None:
    with pytest.raises(DataError, match=found):
        predictor.predict(texts)  # type: ignore[arg-type]


@pytest.mark.parametrize(("choice", "error"), [({"engine": "tpu"}, ConfigError), ({"variant": "fp8"}, ConfigError)])
def test_an_unknown_engine_or_variant_is_refused_by_name(
    bundle: Path, choice: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(choice.values()))):
        Predictor.load(bundle, **choice)


@pytest.mark.parametrize("engine", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there_is_refused_by_name(
    bundle: Path, engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MissingExtraError, match=f"engine = '{engine}'.*pip install"):
        Predictor.load(bundle, engine=engine)
    assert capfd.readouterr().out == ""


def test_softmax_of_huge_logits_is_finite() -> None:
    np.testing.assert_allclose(probabilities_of(np.array([[1e4, 0, -1e4]], dtype=np.float32)), [[1, 0, 0]])


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_text_gets_the_same_bits_whatever_it_is_scored_with(bundle: Path, engine: str) -> None:
    predictor = Predictor.load(bundle, engine=engine, variant="fp32", threads=2)
    texts = [" ".join(["good", "bad", "pie"][place % 3] for place in range(length)) for length in range(1, 40)] * 3
    together = predictor.score(texts).logits
    alone = np.concatenate([predictor.score([text]).logits for text in texts])
    in_small_batches = predictor.score(texts[::-1], tokens_per_batch=64).logits[::-1]
    assert np.array_equal(together, alone)
    assert np.array_equal(together, in_small_batches)

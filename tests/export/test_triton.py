"""The Triton model repository has the bundle's files and a configuration for them."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from export.triton import write_triton
from sentiment_ray import Predictor
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.errors import ConfigError
from sentiment_ray.inference.engines import load_engine
from sentiment_ray.inference.scoring import score_texts
from sentiment_ray.text.encoding import load_encoder


@pytest.fixture(scope="module")
def repository(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("triton") / "models"
    write_triton(open_bundle(bundle), target, restart=False)
    return target


def test_every_variant_that_passed_is_a_model_with_its_inputs_and_labels(repository: Path, bundle: Path) -> None:
    manifest = open_bundle(bundle).manifest
    passed = {
        f"sentiment_{name}" for name, variant in manifest.variants.items() if variant.gate["onnxruntime"]["passed"]
    }
    assert {path.name for path in repository.iterdir() if path.is_dir()} == passed
    for name in passed:
        config = (repository / name / "config.pbtxt").read_text()
        graph = onnx.load(repository / name / "1/model.onnx").graph
        for value in graph.input:
            assert f'{{ name: "{value.name}", data_type: TYPE_INT64, dims: [ -1 ] }}' in config
        assert f'"{graph.output[0].name}", data_type: TYPE_FP32, dims: [ {len(manifest.labels)} ]' in config
        assert (repository / name / "labels.txt").read_text().split() == list(manifest.labels)


def test_triton_can_read_the_configuration(repository: Path) -> None:
    model_config = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    for path in repository.glob("*/config.pbtxt"):
        config = text_format.Parse(path.read_text(), model_config.ModelConfig())
        assert (config.backend, config.max_batch_size, config.output[0].label_filename) == (
            "onnxruntime", 256, "labels.txt",
        )  # fmt: skip
        assert config.HasField("dynamic_batching")
        assert config.parameters["max_tokens"].string_value == "32"


def test_its_tokenizer_and_model_give_the_same_logits_as_the_bundle(repository: Path, predictor: Predictor) -> None:
    model = repository / "sentiment_fp32"
    encoder = load_encoder(model / "tokenizer.json", max_tokens=predictor.manifest.max_tokens)
    engine = load_engine("onnxruntime", (model / "1/model.onnx").read_bytes(), threads=2, source="model.onnx")
    texts = ["I love this little shop.", "The bus leaves at nine."]
    assert np.array_equal(score_texts(engine, encoder, texts).logits, predictor.score(texts).logits)


def test_other_models_are_not_replaced(bundle: Path, repository: Path, tmp_path: Path) -> None:
    write_triton(open_bundle(bundle), repository, restart=False)
    (tmp_path / "resnet").mkdir()
    with pytest.raises(ConfigError, match="exists and holds no result"):
        write_triton(open_bundle(bundle), tmp_path, restart=False)

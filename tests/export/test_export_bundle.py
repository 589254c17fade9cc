"""A bundle is as exact as its bounds demand, or it is not written."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from huggingface_hub import ModelCard
from onnx import numpy_helper
from pyarrow import parquet

from export.build import export_bundle
from export.config import ExportConfig
from export.held_out import TorchEngine
from export.quantize import quantize_weights
from sentiment_ray import Predictor
from sentiment_ray.bundle.manifest import compute_bundle_id
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.errors import ConfigError, DataError, GateError
from sentiment_ray.inference.drift import compute_drift, compute_profile
from sentiment_ray.inference.scoring import score_texts
from sentiment_ray.output_lock import hold_local_lock, name_lock_beside
from sentiment_ray.text.encoding import load_encoder
from tests.conftest import EXPORT


def test_a_second_export_to_the_same_output_is_refused(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    (tmp_path / "link").symlink_to(output)
    with hold_local_lock(name_lock_beside(output), output):
        for name in ("bundle", "link", "../" + tmp_path.name + "/bundle"):
            with pytest.raises(ConfigError, match="is being written by another run"):
                export_bundle(ExportConfig(run=str(run), output=str(tmp_path / name)))
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_the_plain_file_gives_the_logits_of_torch_on_held_out_reviews(bundle: Path, run: Path, prepared: Path) -> None:
    texts = parquet.read_table(prepared / "validation")["text"].to_pylist()
    checkpoint = run / json.loads((run / "run.json").read_text())["best"]["checkpoint"]
    encoder = load_encoder(checkpoint / "tokenizer.json", max_tokens=32)
    expected = score_texts(TorchEngine(checkpoint), encoder, texts)
    for name in ("fp32", "optimized"):
        predictor = Predictor.load(bundle, engine="onnxruntime", variant=name, threads=2)
        temperature = predictor.manifest.temperature
        np.testing.assert_allclose(predictor.score(texts).logits * temperature, expected.logits, atol=1e-4)


def test_every_variant_has_its_gate_and_its_rate(bundle: Path, prepared: Path) -> None:
    rows = parquet.read_table(prepared / "validation").num_rows
    manifest = open_bundle(bundle).manifest
    for variant in manifest.variants.values():
        for engine, gate in variant.gate.items():
            assert gate["rows"] == rows
            assert gate["batches"]["rows"] == min(rows, 256)
            assert len(gate["suite"]) >= 10
            low, high = gate["macro_f1_drop_interval"]
            assert low <= gate["macro_f1_drop"] + 1e-9 and gate["macro_f1_drop"] <= high + 1e-9
            assert variant.bench[engine]["rows_per_s"] > 0
    assert manifest.variants["fp32"].gate["onnxruntime"]["label_agreement"] == 1


def test_what_passed_its_gate_has_the_trial_whether_bits_depend_on_the_batch(bundle: Path, prepared: Path) -> None:
    rows = parquet.read_table(prepared / "validation").num_rows
    manifest = open_bundle(bundle).manifest
    differing = {}
    for name, variant in manifest.variants.items():
        for engine, gate in variant.gate.items():
            assert gate["passed"] == ("batch_invariance" in gate)
            if gate["passed"]:
                record = gate["batch_invariance"]
                assert record["texts"] >= record["texts_alone"] >= rows
                assert (record["longest"], record["tokens_per_batch"]) == (manifest.max_tokens, 2048)
                differing[name, engine] = record["differing"]
    assert differing["fp32", "onnxruntime"] == differing["optimized", "onnxruntime"] == 0
    assert differing["int8", "onnxruntime"] > 0


def test_the_bundle_has_a_profile_of_held_out_reviews_that_is_not_part_of_its_identity(
    bundle: Path, prepared: Path
) -> None:
    texts = parquet.read_table(prepared / "validation")["text"].to_pylist()
    manifest, default = open_bundle(bundle).manifest, Predictor.load(bundle)
    assert (
        compute_drift(manifest.reference, compute_profile(texts, default.score(texts), default.labels))["labels"] < 0.01
    )
    assert manifest.reference["rows"] == len(texts)
    assert manifest.bundle_id == compute_bundle_id(
        manifest.files, manifest.labels, manifest.max_tokens, manifest.steps, manifest.truncation
    )


@pytest.mark.parametrize("name", ["fp16", "int8_weights"])
def test_a_variant_with_fewer_bits_is_a_smaller_file(bundle: Path, name: str) -> None:
    manifest = open_bundle(bundle).manifest
    assert manifest.files[manifest.variants[name].file].bytes < manifest.files["onnx/model.onnx"].bytes


def test_int8_weights_differ_by_at_most_half_a_step_of_their_channel(bundle: Path, tmp_path: Path) -> None:
    quantize_weights(bundle / "onnx/model.onnx", tmp_path / "weights.onnx")
    plain, stored = (
        {value.name: numpy_helper.to_array(value) for value in onnx.load(path).graph.initializer}
        for path in (bundle / "onnx/model.onnx", tmp_path / "weights.onnx")
    )
    quantised = [name.removesuffix("_int8") for name in stored if name.endswith("_int8")]
    assert len(quantised) == 6 + 2  # of the last of two layers only keys and values work on every token
    for name in quantised:
        scale = stored[f"{name}_scale"]
        assert np.abs(stored[f"{name}_int8"] * scale - plain[name]).max() <= scale.max() * 0.501
        assert name not in stored


def test_the_model_card_has_the_metrics_of_the_run_as_metadata_of_the_hub(bundle: Path, run: Path) -> None:
    card, trained = ModelCard.load(bundle / "README.md"), json.loads((run / "run.json").read_text())
    assert card.data.pipeline_tag == "text-classification"
    assert {result.metric_name: result.metric_value for result in card.data.eval_results} == {
        "macro-F1": round(trained["best"]["metrics"]["macro_f1"], 4),
        "accuracy": round(trained["best"]["metrics"]["accuracy"], 4),
    }
    assert f"macro-F1 {trained['base_model']['macro_f1']:.3f} on {trained['base_model']['rows']} test rows" in card.text


def test_an_equal_export_is_skipped_and_another_refused(bundle: Path, run: Path) -> None:
    assert export_bundle(ExportConfig(run=str(run), output=str(bundle), **EXPORT))["skipped"]
    with pytest.raises(ConfigError, match="--restart"):
        export_bundle(ExportConfig(run=str(run), output=str(bundle), gate_rows=5))


def test_an_impossible_bound_gives_no_bundle(run: Path, tmp_path: Path) -> None:
    config = ExportConfig(
        run=str(run), output=str(tmp_path / "bundle"), variants=("fp32", "int8"), required="int8", max_mean_difference=0
    )
    with pytest.raises(GateError, match="'int8' missed its gate.*max_mean_difference = 0, found"):
        export_bundle(config)
    assert list(tmp_path.iterdir()) == []


def test_the_bundle_loads_in_optimum_with_the_same_probabilities(bundle: Path, predictor: Predictor) -> None:
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from transformers import AutoTokenizer, pipeline

    model = ORTModelForSequenceClassification.from_pretrained(bundle, subfolder="onnx", file_name="model.onnx")
    ask = pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(bundle), top_k=None)
    texts = ["The bus leaves at nine.", "I love this little shop."]
    for prediction, answer in zip(predictor.predict(texts), ask(texts), strict=True):
        assert prediction.probabilities == pytest.approx({row["label"]: row["score"] for row in answer}, abs=1e-4)


def test_wrong_inputs_are_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.json is missing"):
        export_bundle(ExportConfig(run=str(tmp_path), output=str(tmp_path / "bundle")))
    with pytest.raises(ConfigError, match=r"has no model\.safetensors"):
        export_bundle(ExportConfig(run=str(run), checkpoint="nowhere", output=str(tmp_path / "bundle")))
    with pytest.raises(ValueError, match="choose from fp32, optimized, fp16"):
        ExportConfig(run=str(run), output="bundle", variants=("fp32", "int4"))


def test_the_gate_refuses_reviews_that_were_prepared_again(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    trained = json.loads((run / "run.json").read_text())
    trained["made_from"]["prepared"] = trained["reviews"] = "0" * 64
    (tmp_path / "run/run.json").write_text(json.dumps(trained))
    with pytest.raises(DataError, match="holds other reviews than the run was trained on"):
        export_bundle(ExportConfig(run=str(tmp_path / "run"), output=str(tmp_path / "bundle"), variants=("fp32",)))

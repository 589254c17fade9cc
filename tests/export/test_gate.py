"""A file that differs from torch in a way that a user would notice does not pass the gate."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from pyarrow import parquet

from export import quantize
from export.benchmark import choose_default
from export.build import export_bundle
from export.config import ExportConfig
from export.gate import check, compare_batches, score_alone
from export.held_out import HeldOut, TorchEngine, score_held_out
from export.variants import VARIANTS, Source
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.inference.engines import load_engine
from sentiment_ray.inference.scoring import score_texts
from sentiment_ray.metrics.intervals import bootstrap_difference
from sentiment_ray.text.encoding import TextEncoder, load_encoder
from tests.conftest import LABELS, ROOT

CONFIG = ExportConfig(run="run", output="bundle", variants=("fp32", "int8_static"))
SPLITS = ("train", "validation")


@pytest.fixture(scope="module")
def checkpoint(run: Path) -> Path:
    return run / json.loads((run / "run.json").read_text())["best"]["checkpoint"]


@pytest.fixture(scope="module")
def encoder(checkpoint: Path) -> TextEncoder:
    return load_encoder(checkpoint / "tokenizer.json", max_tokens=32)


@pytest.fixture(scope="module")
def held_out(prepared: Path, checkpoint: Path, encoder: TextEncoder) -> HeldOut:
    return score_held_out(CONFIG, prepared, checkpoint, encoder, LABELS)


@pytest.fixture
def variants(bundle: Path, checkpoint: Path, encoder: TextEncoder, held_out: HeldOut, tmp_path: Path) -> Path:
    """A directory with every variant's file, whether it passed or not."""
    (tmp_path / "onnx").mkdir()
    assert held_out.static_calibration
    source = Source(bundle / VARIANTS["fp32"].file, checkpoint, encoder, held_out.static_calibration.texts)
    for spec in VARIANTS.values():
        spec.write(source, tmp_path / spec.file)
    return tmp_path


def _swap_two_labels(model: onnx.ModelProto) -> None:
    for name in ("classifier.weight", "classifier.bias"):
        values = next(value for value in model.graph.initializer if value.name == name)
        array = numpy_helper.to_array(values)
        axis = list(array.shape).index(len(LABELS))
        values.CopyFrom(numpy_helper.from_array(np.flip(array, axis=axis).copy(), name))


def _break_the_scales(model: onnx.ModelProto) -> None:
    for values in model.graph.initializer:
        if values.name.endswith("_scale"):
            array = numpy_helper.to_array(values)
            values.CopyFrom(numpy_helper.from_array(array[::-1] * 50, values.name))


@pytest.mark.parametrize(
    ("name", "harm"),
    [("fp32", _swap_two_labels), ("int8_weights", _swap_two_labels), ("int8_weights", _break_the_scales)],
)
def test_a_file_that_is_wrong_does_not_pass(
    variants: Path, encoder: TextEncoder, held_out: HeldOut, name: str, harm: Callable[[onnx.ModelProto], None]
) -> None:
    model = onnx.load(variants / VARIANTS[name].file)
    for damaged in (False, True):
        if damaged:
            harm(model)
        engine = load_engine("openvino", model.SerializeToString(), threads=2, source=name)
        gate = check(engine, encoder, held_out, LABELS, CONFIG).gate
        assert gate["passed"] != damaged, gate["missed"]


def test_a_missed_gate_of_the_required_variant_ends_with_3_and_writes_no_bundle(run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs.export_bundle", "--run", str(run), "--output", str(tmp_path / "bundle")]
    bounds = ["--variants", "fp32,int8", "--required", "int8", "--max-mean-difference", "0"]
    done = subprocess.run([*command, *bounds], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 3
    assert "'int8' missed its gate" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_static_int8_is_calibrated_on_rows_that_neither_the_gate_nor_the_temperature_uses(
    run: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    make_batches = quantize.make_calibration_batches

    def note(encoder: TextEncoder, texts: list[str]) -> Iterator[quantize.Feed]:
        measured.extend(texts)
        return make_batches(encoder, texts)

    monkeypatch.setattr(quantize, "make_calibration_batches", note)
    variants = ("fp32", "int8_static")
    keys: dict[str, Any] = {"variants": variants, "batch_rows": 8, "threads": 2, "max_mean_difference": 1.0}
    export_bundle(ExportConfig(run=str(run), output=str(tmp_path / "bundle"), **keys))
    train, validation = (set(parquet.read_table(prepared / split)["text"].to_pylist()) for split in SPLITS)
    assert set(measured) == train and train.isdisjoint(validation)
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert manifest.evaluation["static_calibration"] == {"split": "train", "rows": 96, "reason": None}


def test_the_suite_is_shown_but_judges_no_file_of_a_model_of_another_language(
    prepared: Path, checkpoint: Path, encoder: TextEncoder, variants: Path, tmp_path: Path
) -> None:
    shutil.copytree(prepared, tmp_path / "prepared")
    manifest = json.loads((prepared / "prepared.json").read_text())
    manifest["config"]["language"] = "de"
    (tmp_path / "prepared/prepared.json").write_text(json.dumps(manifest))
    config = CONFIG.model_copy(update={"max_suite_drop": 0.0, "batch_rows": 8})
    held_out = score_held_out(config, tmp_path / "prepared", checkpoint, encoder, LABELS)
    contrary = replace(held_out.case_scores, label_ids=(held_out.case_scores.label_ids + 1) % len(LABELS))
    engine = load_engine("onnxruntime", (variants / VARIANTS["fp32"].file).read_bytes(), threads=2, source="fp32")
    gate = check(engine, encoder, replace(held_out, case_scores=contrary), LABELS, config).gate
    assert gate["suite_share"] > 0 and gate["passed"]
    assert "max_suite_drop" in gate["not_judged"]
    assert "the English suite: the reviews are in another language (de)" in gate["not_measured"]


def test_the_gate_measures_that_dynamic_int8_depends_on_its_batch(
    variants: Path, encoder: TextEncoder, held_out: HeldOut
) -> None:
    moved = {}
    for name in ("fp32", "int8"):
        model = (variants / VARIANTS[name].file).read_bytes()
        engine = load_engine("onnxruntime", model, threads=2, source=name)
        scores = score_texts(engine, encoder, held_out.texts)
        alone = score_alone(engine, encoder, held_out.texts)
        moved[name] = compare_batches(engine, encoder, held_out.texts, scores, alone)
    assert moved["fp32"]["max_difference_alone"] == 0
    assert moved["fp32"]["flips_alone"] == moved["fp32"]["flips_padded"] == 0
    assert moved["int8"]["max_difference_alone"] > 0
    assert moved["int8"]["max_difference_padded"] > moved["fp32"]["max_difference_padded"]


def test_static_int8_keeps_the_classification_head_in_fp32(variants: Path) -> None:
    graph = onnx.load(variants / VARIANTS["int8_static"].file).graph
    stored = {value.name: value.data_type for value in graph.initializer}
    assert stored["classifier.weight"] == onnx.TensorProto.FLOAT
    assert sum(kind == onnx.TensorProto.INT8 and name.endswith("_quantized") for name, kind in stored.items()) >= 8
    activations = {node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    assert len(activations) >= 4


def test_fp16_stores_float16_and_returns_float32_logits_near_the_plain_file(
    variants: Path, encoder: TextEncoder, held_out: HeldOut
) -> None:
    model = onnx.load(variants / VARIANTS["fp16"].file)
    large = [value for value in model.graph.initializer if len(value.dims) == 2]
    assert {value.data_type for value in large} == {onnx.TensorProto.FLOAT16}
    assert model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    fp16, fp32 = (
        score_texts(
            load_engine("onnxruntime", (variants / VARIANTS[name].file).read_bytes(), threads=2, source=name),
            encoder,
            held_out.texts,
        )
        for name in ("fp16", "fp32")
    )
    np.testing.assert_allclose(fp16.probabilities, fp32.probabilities, atol=5e-3)


def test_every_file_holds_the_temperature(
    bundle: Path, checkpoint: Path, encoder: TextEncoder, held_out: HeldOut
) -> None:
    manifest = open_bundle(bundle).manifest
    plain = score_texts(TorchEngine(checkpoint), encoder, held_out.texts)
    assert manifest.temperature == held_out.temperature != 1
    np.testing.assert_allclose(held_out.scores.logits * manifest.temperature, plain.logits, atol=1e-5)
    assert np.array_equal(held_out.scores.label_ids, plain.label_ids)


def test_the_interval_of_the_loss_is_zero_for_equal_answers_and_clear_for_others() -> None:
    rng = np.random.default_rng(0)
    label_ids = rng.integers(0, 3, size=600)
    good, bad = (np.where(rng.random(600) < share, label_ids, rng.integers(0, 3, size=600)) for share in (0.9, 0.6))

    def interval(predicted_ids: np.ndarray) -> list[float]:
        return bootstrap_difference(label_ids, good, predicted_ids, num_labels=3, seed=0)["intervals"]["macro_f1"]

    assert interval(good) == [0, 0]
    low, high = interval(bad)
    assert 0.1 < low < high < 0.35


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({("fp32", "openvino"): 100, ("int8_weights", "openvino"): 104}, ("fp32", "openvino")),
        ({("fp32", "openvino"): 100, ("int8_weights", "openvino"): 130}, ("int8_weights", "openvino")),
        ({("fp32", "openvino"): 99, ("fp32", "onnxruntime"): 100}, ("fp32", "onnxruntime")),
    ],
)
def test_a_less_exact_file_is_the_default_only_when_it_is_clearly_faster(
    rates: dict[tuple[str, str], float], expected: tuple[str, str]
) -> None:
    assert choose_default(rates, list(VARIANTS)) == expected

"""An export says what a user should know: variants left out, the checkpoint that was exported, the temperature."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.build import export_bundle
from export.closing import Exported, list_sentences
from export.config import ExportConfig
from export.held_out import MIN_CALIBRATION_ROWS, choose_temperature
from export.model_files import _limit_tokenizer
from sentiment_ray.bundle.manifest import Variant
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.manifest import read_json
from sentiment_ray.pretrained.runs import name_base_model
from sentiment_ray.text.truncation import HEAD, Cut, Truncation, read_truncation


def test_a_variant_that_is_left_out_and_a_checkpoint_that_is_not_the_best_are_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = read_json(run / "run.json")
    other = next(
        path for path in (run / "attempts").glob("*/epoch-*") if trained["best"]["checkpoint"] not in str(path)
    )
    keys: dict[str, Any] = {"variants": ("fp32", "int8"), "max_batch_difference": 1e-4, "gate_rows": 40, "threads": 2}
    config = ExportConfig(run=str(run), checkpoint=str(other.relative_to(run)), output=str(tmp_path / "bundle"), **keys)
    export_bundle(config)
    lines = capsys.readouterr().err.splitlines()
    manifest, card = open_bundle(tmp_path / "bundle").manifest, (tmp_path / "bundle/README.md").read_text()
    metrics = trained["history"][int(other.name.removeprefix("epoch-")) - 1]
    assert manifest.training["best"]["epoch"] == metrics["epoch"] != trained["best"]["epoch"]
    assert manifest.training["best"]["metrics"]["macro_f1"] == metrics["macro_f1"]
    assert f"reached macro-F1 {metrics['macro_f1']:.3f} and accuracy {metrics['accuracy']:.3f}" in card
    figure = manifest.evaluation["left_out"]["int8"]["onnxruntime"]["missed"][0]
    assert figure.startswith("max_batch_difference = 0.0001, found ")
    for sentence in (
        "Left out of the bundle",
        "int8 (with ",
        f"with onnxruntime {figure}",
        f"The bundle is of {other.relative_to(run)}",
    ):
        assert any(sentence in line for line in lines if line.startswith("warning: "))
        assert sentence in card
    export_bundle(config)
    assert capsys.readouterr().err.splitlines() == lines  # a bundle that is up to date says the same


def test_a_variant_that_one_engine_may_not_run_is_named() -> None:
    missed = {"passed": False, "missed": ["min_agreement = 0.97, found 0.9"]}
    variant = Variant(
        file="onnx/a.onnx",
        precision="int8",
        gate={"openvino": missed, "onnxruntime": {"passed": True, "missed": []}},
        bench={"openvino": {"rows_per_s": 1.0}, "onnxruntime": {"rows_per_s": 1.0}},
    )
    (sentence,) = list_sentences(Exported({"int8": variant}, {}, {}))
    assert sentence.endswith("int8 (with openvino min_agreement = 0.97, found 0.9).")


def _calibrate(num_rows: int, num_wrong: int, scale: float = 4.0) -> dict[str, Any]:
    label_ids = np.arange(num_rows) % 3
    logits = np.float32(scale) * np.eye(3, dtype=np.float32)[label_ids]
    logits[:num_wrong] = np.roll(logits[:num_wrong], 1, axis=1)
    return choose_temperature(logits, label_ids)


@pytest.mark.parametrize(
    ("rows", "wrong", "scale", "reason"),
    [
        (9, 4, 4.0, "9 validation rows are fewer"),
        (MIN_CALIBRATION_ROWS - 1, 5, 4.0, "are fewer than the"),
        (0, 0, 4.0, "0 validation rows"),
        (90, 0, 4.0, "the answers on all 90"),
        (90, 1, 0.01, "ended at its bound 0.05"),
        (90, 89, 400.0, "ended at its bound 20"),
    ],
)
def test_the_temperature_is_1_where_the_rows_cannot_tell(rows: int, wrong: int, scale: float, reason: str) -> None:
    calibration = _calibrate(rows, wrong, scale)
    assert calibration["temperature"] == 1
    assert reason in calibration["reason"]
    (sentence,) = list_sentences(Exported({}, {}, {"calibration": calibration}))
    assert sentence.startswith("The temperature is 1, so") and reason in sentence


def test_the_temperature_is_fitted_on_enough_rows() -> None:
    calibration = _calibrate(300, 60)
    assert calibration["temperature"] > 1 and calibration["reason"] is None
    (sentence,) = list_sentences(Exported({}, {}, {"calibration": calibration}))
    assert "on 300 validation rows" in sentence


def test_other_loaders_read_as_much_of_a_text_as_the_training(bundle: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(bundle)
    assert tokenizer.model_max_length == open_bundle(bundle).manifest.max_tokens == 32
    assert len(tokenizer("word " * 100, truncation=True)["input_ids"]) == 32


@pytest.mark.parametrize(
    ("truncation", "side"),
    [
        (HEAD, "right"),
        (Cut(mode="tail"), "left"),
        (Cut(mode="head_tail"), "base"),
        (read_truncation({"truncation": "windows", "pooling": "mean", "window_overlap": 0, "max_windows": 2}), "base"),
    ],
)
def test_a_tokenizer_cuts_at_the_end_that_the_training_cut(truncation: Truncation, side: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer_config.json"
    _limit_tokenizer(path, 16, truncation)  # a tokenizer without this file
    assert read_json(path)["model_max_length"] == 16
    path.write_text(json.dumps({"model_max_length": 10**30, "truncation_side": "base", "do_lower_case": True}))
    _limit_tokenizer(path, 48, truncation)
    assert read_json(path) == {"model_max_length": 48, "truncation_side": side, "do_lower_case": True}


def test_a_bundle_holds_no_path_of_the_machine(bundle: Path, run: Path) -> None:
    chain = str(run.parent).encode()
    assert [file for file in bundle.rglob("*") if file.is_file() and chain in file.read_bytes()] == []
    assert open_bundle(bundle).manifest.training["model"] == "tiny-encoder"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"model": "/home/ada/models/minilm"}, ("minilm", "directory")),
        ({"model": "/home/ada/run/attempts/1/epoch-2", "start_from": "/home/ada/first/"}, ("first", "run")),
        ({"model": "owner/name", "revision": "0" * 40}, ("owner/name@" + "0" * 40, "hub")),
        ({"model": "bert-base-uncased"}, ("bert-base-uncased", "hub")),
    ],
)
def test_the_base_model_has_a_name_without_a_path(settings: dict[str, Any], expected: tuple[str, str]) -> None:
    assert tuple(name_base_model(settings).values()) == expected

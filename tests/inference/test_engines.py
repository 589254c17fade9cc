"""An engine is one entry in the table and one module: no other part of the project names it."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from export.build import export_bundle
from export.config import ExportConfig
from sentiment_ray import Predictor
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.engine_specs import ENGINES, SPECS, EngineSpec, cpu_engines, list_engines
from sentiment_ray.errors import BundleError, ConfigError, MissingExtraError
from sentiment_ray.inference.doctor import examine
from sentiment_ray.inference.engines import load_engine

ZEROS = EngineSpec("zeros", "tests.inference.zeros_engine", "numpy", ("numpy",), "Run: pip install numpy")


@pytest.fixture
def zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine more in the table."""
    monkeypatch.setitem(ENGINES, "zeros", ZEROS)


def test_an_engine_in_the_table_is_known_everywhere(zeros: None) -> None:
    assert load_engine("zeros", b"", threads=1, source="model.onnx").name == "zeros"
    assert list_engines().endswith(" or zeros")
    assert examine()["engines"]["zeros"] == {
        "installed": True,
        "version": ZEROS.installed_version(),
        "devices": ["none"],
    }


def test_the_gate_refuses_every_file_to_an_engine_that_returns_zeros(
    zeros: None, bundle: Path, run: Path, tmp_path: Path
) -> None:
    """The export tries a new engine, writes down what it missed, and the bundle can still be read."""
    with pytest.raises(BundleError, match="exported without engine 'zeros'. Export it again where zeros is installed"):
        Predictor.load(bundle, engine="zeros")
    output = tmp_path / "bundle"
    export_bundle(ExportConfig(run=str(run), output=str(output), variants=("fp32",), batch_rows=8, threads=2))
    gate = open_bundle(output).manifest.variants["fp32"].gate
    assert gate["openvino"]["passed"]
    assert gate["onnxruntime"]["passed"]
    assert not gate["zeros"]["passed"]
    with pytest.raises(BundleError, match="has passed no gate with engine 'zeros'"):
        Predictor.load(output, engine="zeros")
    assert Predictor.load(output).engine != "zeros"


def test_a_gate_that_was_forged_for_it_does_not_get_past_the_self_test(
    zeros: None, bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle/bundle.json").read_text())
    for variant in manifest["variants"].values():
        variant["gate"]["zeros"], variant["bench"]["zeros"] = {"passed": True}, {"rows_per_s": 1e9}
    for differences in manifest["self_test"]["differences"].values():
        differences["zeros"] = 0.0
    (tmp_path / "bundle/bundle.json").write_text(json.dumps(manifest))
    assert Predictor.load(tmp_path / "bundle").engine != "zeros"
    with pytest.raises(BundleError, match="with zeros on this processor probabilities are up to"):
        Predictor.load(tmp_path / "bundle", engine="zeros")


def test_a_bundle_of_an_engine_that_is_not_in_the_table_is_refused(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle/bundle.json").read_text())
    manifest["variants"]["fp32"]["gate"]["unlisted"] = {"passed": True}
    (tmp_path / "bundle/bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"variants\.fp32\.gate\.unlisted.*'unlisted' is not the name of an engine"):
        open_bundle(tmp_path / "bundle")
    with pytest.raises(ConfigError, match="engine = 'unlisted' is unknown. Known: auto, openvino, onnxruntime, cuda"):
        Predictor.load(bundle, engine="unlisted")


def test_an_engine_that_is_not_installed_names_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = EngineSpec("missing", "no.such.module", "no_such_library", ("no-such-package",), "Run: pip install it")
    monkeypatch.setitem(ENGINES, "missing", missing)
    with pytest.raises(MissingExtraError, match="engine = 'missing' needs no-such-package. Run: pip install it"):
        load_engine("missing", b"", threads=1, source="model.onnx")
    assert examine()["engines"]["missing"] == {"installed": False}
    assert "missing is not installed. Run: pip install it" in examine()["hints"]


def test_every_gpu_engine_has_the_gate_of_one_on_the_cpu() -> None:
    assert {"cuda", "tensorrt"} <= {spec.name for spec in SPECS if spec.is_gpu}
    assert {spec.gate_engine for spec in SPECS} == set(cpu_engines())


def test_help_lists_the_engines() -> None:
    from sentiment_ray.cli import commands

    assert list_engines() in " ".join(CliRunner().invoke(commands, ["predict", "--help"]).output.split())

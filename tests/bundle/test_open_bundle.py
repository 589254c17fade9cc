"""A bundle opens only if its files are those that were exported."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sentiment_ray.bundle.open import open_bundle, verify_bundle
from sentiment_ray.errors import BundleError


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def _edit(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        manifest = json.loads((path / "bundle.json").read_text())
        change(manifest)
        (path / "bundle.json").write_text(json.dumps(manifest))

    return edit


def _flip_a_byte(path: Path) -> None:
    data = bytearray((path / "onnx/model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "onnx/model.onnx").write_bytes(bytes(data))


def _link(path: Path) -> None:
    target = path.parent / "elsewhere.json"
    (path / "config.json").rename(target)
    (path / "config.json").symlink_to(target)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a changed byte": (_flip_a_byte, r"onnx/model\.onnx is not the file that was exported"),
    "a missing file": (lambda path: (path / "tokenizer.json").unlink(), r"tokenizer\.json is missing"),
    "an extra file": (lambda path: (path / "extra.py").write_text("1"), r"extra\.py is not listed"),
    "a symbolic link": (_link, r"config\.json is a symbolic link"),
    "a linked directory": (lambda path: (path / "more").symlink_to(path.parent), "more is a symbolic link"),
    "no manifest": (lambda path: (path / "bundle.json").unlink(), r"bundle\.json is missing"),
    "a manifest that is not JSON": (lambda path: (path / "bundle.json").write_text("{"), "bundle.json is cut off"),
    "a newer format": (_edit(lambda manifest: manifest.update(format_version=2)), "format_version is 2"),
    "an unknown key": (_edit(lambda manifest: manifest.update(auto_map={})), "auto_map"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_refused_by_name(copy: Path, damage: str) -> None:
    harm, expected = DAMAGES[damage]
    harm(copy)
    with pytest.raises(BundleError, match=expected):
        verify_bundle(copy)


def test_a_missing_bundle_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="python -m jobs.export_bundle"):
        open_bundle(tmp_path / "nowhere")


def test_a_copied_bundle_is_the_same_bundle(copy: Path, bundle: Path) -> None:
    assert open_bundle(copy).manifest == open_bundle(bundle).manifest


def test_a_bundle_from_before_there_were_profiles_loads_without_one(copy: Path) -> None:
    assert open_bundle(copy).manifest.reference["rows"] > 0
    _edit(lambda manifest: manifest.pop("reference"))(copy)
    assert open_bundle(copy).manifest.reference == {}


def test_the_bundle_has_the_hugging_face_layout(bundle: Path) -> None:
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert {"config.json", "tokenizer.json", "tokenizer_config.json", "README.md", "bundle.json"} <= files
    assert {name for name in files if name.endswith(".onnx")} == {
        variant.file for variant in open_bundle(bundle).manifest.variants.values()
    }

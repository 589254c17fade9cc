"""A bundle that was made to do harm is refused, with its fault named, before any of its content is used."""

import json
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sentiment_ray.bundle.manifest import MAX_BYTES
from sentiment_ray.bundle.onnx_scan import scan_model
from sentiment_ray.bundle.open import open_bundle, verify_bundle
from sentiment_ray.errors import BundleError
from sentiment_ray.inference.predictor import Predictor, pack_bundle
from tests.hostile import directories, models
from tests.hostile.damage import MODEL, Cases, config, model, seal

GROUPS = {
    "names": directories.NAMES,
    "files": directories.FILES,
    "manifest": directories.MANIFEST,
    "config": directories.CONFIG,
    "tokenizer": directories.TOKENIZER,
    "external": models.EXTERNAL,
    "operators": models.OPERATORS,
    "sizes": models.SIZES,
    "ports": models.PORTS,
    "bytes": models.BYTES,
}
HOSTILE: Cases = {f"{group}: {name}": case for group, cases in GROUPS.items() for name, case in cases.items()}
COMMAND = str(Path(sys.executable).parent / "sentiment-ray")


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_copy_with_updated_hashes_is_the_same_bundle(copy: Path, bundle: Path) -> None:
    seal(copy)
    assert verify_bundle(copy).manifest == verify_bundle(bundle).manifest


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_bundle_is_refused_by_name_before_an_engine_sees_it(copy: Path, name: str) -> None:
    harm, refusal = HOSTILE[name]
    harm(copy)
    for ask in (verify_bundle, lambda path: pack_bundle(path, engine="onnxruntime", variant="fp32")):
        with pytest.raises(BundleError, match=refusal) as refused:
            ask(copy)
        assert str(copy) in str(refused.value)
        assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_model_that_no_engine_can_run_is_refused_by_name(copy: Path, engine: str) -> None:
    model(lambda found: setattr(found.graph.node[-1], "op_type", "NoSuchOperator"))(copy)
    packed = pack_bundle(copy, engine="onnxruntime", variant="fp32")
    with pytest.raises(BundleError, match=f"onnx/model.onnx: {engine} cannot load this model"):
        Predictor(replace(packed, engine=engine))


def _mutated(data: bytes, chance: random.Random) -> bytes:
    """Return bytes with some of them changed, cut off, inserted or removed."""
    start, size = chance.randrange(len(data) + 1), chance.randrange(1, 40)
    changed = bytearray(data)
    for _ in range(chance.choice((1, 2, 50))):
        changed[chance.randrange(len(data))] = chance.randrange(256)
    return chance.choice(
        (
            bytes(changed),
            data[:start],
            data[:start] + chance.randbytes(size) + data[start:],
            data[:start] + data[start + size :],
        )
    )


def test_the_scan_accepts_or_refuses_any_bytes_of_a_model(bundle: Path) -> None:
    chance = random.Random(0)
    files = [path.read_bytes() for path in sorted((bundle / "onnx").iterdir())]
    refused = 0
    for _ in range(2000):
        try:
            scan_model(_mutated(chance.choice(files), chance), "model.onnx", num_labels=3)
        except BundleError as error:
            refused += str(error).startswith("model.onnx: ")
    assert 1000 < refused < 2000  # most of a file is weights, which may be any


@pytest.mark.parametrize("name", ["bundle.json", *(name for name in MAX_BYTES if name.endswith("json"))])
def test_a_bundle_with_any_bytes_in_a_json_file_opens_or_is_refused(copy: Path, name: str) -> None:
    chance = random.Random(1)
    manifest, data = (copy / "bundle.json").read_bytes(), (copy / name).read_bytes()
    refused = 0
    for _ in range(100):
        (copy / "bundle.json").write_bytes(manifest)
        (copy / name).write_bytes(_mutated(data, chance))
        if name != "bundle.json":
            seal(copy)
        try:
            open_bundle(copy)
        except BundleError:
            refused += 1
    assert refused > 20


def test_the_bytes_that_are_used_are_those_that_were_checked(copy: Path) -> None:
    opened = open_bundle(copy)
    tokenizer, weights = (copy / "tokenizer.json").read_bytes(), (copy / MODEL).read_bytes()
    (copy / "tokenizer.json").write_text("{}")
    assert opened.tokenizer == tokenizer
    assert opened.model("fp32") == weights
    (copy / MODEL).write_bytes(bytes(len(weights)))
    with pytest.raises(BundleError, match="its sha256 differs"):
        opened.model("fp32")


def test_loading_reads_only_the_model_that_it_uses_and_verifying_reads_all(copy: Path) -> None:
    other = copy / open_bundle(copy).manifest.variants["optimized"].file
    other.write_bytes(bytes(other.stat().st_size))
    assert pack_bundle(copy, engine="onnxruntime", variant="fp32").model == (copy / MODEL).read_bytes()
    with pytest.raises(BundleError, match="model_optimized.onnx is not the file that was exported"):
        verify_bundle(copy)


@pytest.mark.parametrize("command", ["verify", "inspect", "predict"])
def test_the_command_names_the_fault_in_one_line(copy: Path, command: str) -> None:
    config(**{"auto_map\x1b[2J\n": {}})(copy)
    done = subprocess.run([COMMAND, command, str(copy)], input=b"", capture_output=True)
    assert (done.returncode, done.stdout) == (2, b"")
    line = done.stderr.decode()
    assert line.startswith(f"error: {copy}/config.json: the key 'auto_map")
    assert line.count("\n") == 1
    assert json.dumps(line).count("\\u001b") == 0

"""A signed bundle opens with the public key of its author, and nothing else does."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from export.build import export_bundle
from export.config import ExportConfig
from export.push import push_bundle
from export.sign import sign_bundle
from sentiment_ray import Predictor
from sentiment_ray.bundle.open import open_bundle, verify_bundle
from sentiment_ray.bundle.signature import load_signer
from sentiment_ray.errors import BundleError, ConfigError
from sentiment_ray.evaluate.config import EvaluateConfig
from sentiment_ray.evaluate.evaluate import evaluate_bundle
from sentiment_ray.inference.predictor import pack_bundle
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.score import score_reviews
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.server import serve
from tests.conftest import EXPORT, ROOT
from tests.hostile.damage import MODEL, seal

COMMAND = str(Path(sys.executable).parent / "sentiment-ray")


@dataclass(frozen=True)
class Keys:
    private: str
    public: str


def _make_keys(directory: Path, name: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Keys:
    private, public = directory / f"{name}.pem", directory / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return Keys(str(private), str(public))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return _make_keys(tmp_path_factory.mktemp("keys"), "author", ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture(scope="module")
def other_keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return _make_keys(tmp_path_factory.mktemp("keys"), "other", ec.generate_private_key(ec.SECP384R1()))


@pytest.fixture
def signed(bundle: Path, keys: Keys, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    sign_bundle(copy, load_signer(keys.private))
    return copy


def _flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def _add_a_variant(path: Path) -> None:
    """Add a file as somebody does who knows the format: with an entry, hashes and identity that are right."""
    shutil.copy(path / MODEL, path / "onnx/added.onnx")
    manifest = json.loads((path / "bundle.json").read_text())
    manifest["variants"]["added"] = manifest["variants"]["fp32"] | {"file": "onnx/added.onnx"}
    manifest["files"]["onnx/added.onnx"] = dict(manifest["files"][MODEL])
    (path / "bundle.json").write_text(json.dumps(manifest))
    seal(path)


def _remove_a_file(path: Path) -> None:
    (path / "README.md").unlink()
    manifest = json.loads((path / "bundle.json").read_text())
    del manifest["files"]["README.md"]
    (path / "bundle.json").write_text(json.dumps(manifest))
    seal(path)


def _change_a_model(path: Path) -> None:
    _flip_a_byte(path / MODEL)
    seal(path)


def _change_a_threshold(path: Path) -> None:
    manifest = json.loads((path / "bundle.json").read_text())
    (path / "bundle.json").write_text(json.dumps(manifest | {"thresholds": {"neutral": 0.9}}))


def _edit_signature(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        signature = json.loads((path / "model.sig").read_text())
        change(signature)
        (path / "model.sig").write_text(json.dumps(signature))

    return edit


NOT_SIGNED = r"model\.sig is not a signature of this bundle"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no signature": (lambda path: (path / "model.sig").unlink(), r"has no signature \(model\.sig\)"),
    "a changed model, resealed": (_change_a_model, NOT_SIGNED),
    "a changed threshold": (_change_a_threshold, NOT_SIGNED),
    "an added variant, resealed": (_add_a_variant, NOT_SIGNED),
    "a removed file, resealed": (_remove_a_file, NOT_SIGNED),
    "an added file": (lambda path: (path / "more.py").write_text("1"), r"more\.py is not listed"),
    "a removed file": (lambda path: (path / "tokenizer.json").unlink(), r"tokenizer\.json is missing"),
    "a changed model": (lambda path: _flip_a_byte(path / MODEL), "its sha256 differs"),
    "an empty signature": (lambda path: (path / "model.sig").write_text(""), r"model\.sig is empty"),
    "a signature of nothing": (lambda path: (path / "model.sig").write_text("{}"), NOT_SIGNED),
    "a signature with a key twice": (lambda path: (path / "model.sig").write_text('{"a":1,"a":2}'), "comes twice"),
    "deep JSON for a signature": (
        lambda path: (path / "model.sig").write_text("[" * 90_000),
        "nested deeper than 32 levels",
    ),
    "an endless signature": (lambda path: (path / "model.sig").write_bytes(bytes(1 << 21)), "has 2,097,152 bytes"),
    "no envelope": (_edit_signature(lambda found: found.pop("dsseEnvelope")), NOT_SIGNED),
    "no signature in the envelope": (
        _edit_signature(lambda found: found["dsseEnvelope"].update(signatures=[])),
        NOT_SIGNED,
    ),
    "another payload": (_edit_signature(lambda found: found["dsseEnvelope"].update(payload="e30=")), NOT_SIGNED),
    "no public key": (_edit_signature(lambda found: found["verificationMaterial"].pop("publicKey")), NOT_SIGNED),
}


def test_a_signed_bundle_opens_with_the_public_key_and_without(signed: Path, bundle: Path, keys: Keys) -> None:
    assert verify_bundle(signed, require_signature=keys.public).manifest == open_bundle(bundle).manifest
    assert open_bundle(signed).manifest == open_bundle(bundle).manifest
    texts = ["I love this little shop."]
    assert Predictor.load(signed, require_signature=keys.public).predict(texts) == Predictor.load(bundle).predict(texts)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_the_author_did_not_sign_is_refused(signed: Path, keys: Keys, damage: str) -> None:
    harm, refusal = DAMAGES[damage]
    harm(signed)
    with pytest.raises(BundleError, match=refusal) as refused:
        pack_bundle(signed, engine="onnxruntime", variant="fp32", require_signature=keys.public)
    assert len(str(refused.value)) < 1000


def test_a_signature_by_another_key_is_refused(signed: Path, other_keys: Keys) -> None:
    with pytest.raises(BundleError, match=f"{NOT_SIGNED} by .*other.pub"):
        open_bundle(signed, require_signature=other_keys.public)


def test_a_signature_of_another_bundle_is_refused(signed: Path, keys: Keys, bundle: Path, tmp_path: Path) -> None:
    _change_a_threshold(Path(shutil.copytree(bundle, tmp_path / "other")))
    shutil.copy(signed / "model.sig", tmp_path / "other/model.sig")
    with pytest.raises(BundleError, match=NOT_SIGNED):
        open_bundle(tmp_path / "other", require_signature=keys.public)


def test_the_bytes_that_are_used_are_those_that_were_signed(signed: Path, keys: Keys) -> None:
    opened = open_bundle(signed, require_signature=keys.public)
    _change_a_model(signed)
    with pytest.raises(BundleError, match="model.onnx is not the file that was exported"):
        opened.model("fp32")


def test_other_tools_verify_the_signature(signed: Path, keys: Keys) -> None:
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(signed), "--public_key", keys.public]
    command += ["--signature", str(signed / "model.sig")]
    assert subprocess.run(command, capture_output=True).returncode == 0
    _flip_a_byte(signed / MODEL)
    assert subprocess.run(command, capture_output=True).returncode != 0


def test_a_signature_by_other_tools_is_accepted(bundle: Path, keys: Keys, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    command = [sys.executable, "-m", "model_signing", "sign", "key", str(copy), "--private_key", keys.private]
    subprocess.run([*command, "--signature", f"{copy}/model.sig"], capture_output=True, check=True)
    assert verify_bundle(copy, require_signature=keys.public)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("no key"), Path.mkdir])
def test_a_file_that_is_not_a_key_is_named(signed: Path, tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "key.pem")
    with pytest.raises(ConfigError, match="sign_key = .*key.pem' is not a readable private key.*openssl"):
        load_signer(tmp_path / "key.pem")
    with pytest.raises(ConfigError, match="require_signature = .*key.pem' is not a readable public key.*openssl"):
        open_bundle(signed, require_signature=tmp_path / "key.pem")


def test_a_key_of_another_kind_is_named(signed: Path, tmp_path: Path) -> None:
    keys = _make_keys(tmp_path, "rsa", rsa.generate_private_key(65537, 2048))
    with pytest.raises(ConfigError, match="not a readable private key of an elliptic curve"):
        load_signer(keys.private)
    with pytest.raises(ConfigError, match="not a readable public key of an elliptic curve"):
        open_bundle(signed, require_signature=keys.public)


def test_the_export_signs_a_bundle_that_is_there_and_pushes_the_signature(
    run: Path, bundle: Path, keys: Keys, tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    config = ExportConfig(
        run=str(run), output=str(copy), sign_key=keys.private, push=f"file://{tmp_path}/pushed", **EXPORT
    )
    assert export_bundle(config)["skipped"]
    assert verify_bundle(copy, require_signature=keys.public)
    assert verify_bundle(tmp_path / "pushed", require_signature=keys.public)
    push_bundle(open_bundle(bundle), f"file://{tmp_path}/pushed")
    assert not (tmp_path / "pushed/model.sig").exists()


def test_a_new_export_is_signed(run: Path, keys: Keys, tmp_path: Path) -> None:
    flags = ["--run", str(run), "--output", str(tmp_path / "bundle"), "--variants", "fp32", "--gate-rows", "20"]
    command = [sys.executable, "-m", "jobs.export_bundle", *flags, "--sign-key", keys.private]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert verify_bundle(tmp_path / "bundle", require_signature=keys.public)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_wrong_key_is_reported_before_the_export(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sign_key"):
        export_bundle(ExportConfig(run=str(run), output=str(tmp_path / "bundle"), sign_key=str(tmp_path / "none")))
    assert list(tmp_path.iterdir()) == []


def _doors(bundle: str, reviews: Path, output: Path, key: str) -> dict[str, Callable[[], object]]:
    """Return everything that opens a bundle and takes `require_signature`."""
    paths = {"bundle": bundle, "input": str(reviews), "output": str(output), "require_signature": key}
    return {
        "score": lambda: score_reviews(ScoreConfig(**paths)),
        "evaluate": lambda: evaluate_bundle(EvaluateConfig(**paths)),
        "serve": lambda: serve(ServeConfig(bundle=bundle, port=0, require_signature=key)),
    }


@pytest.mark.parametrize("door", ["score", "evaluate", "serve"])
def test_every_job_and_the_service_refuse_an_unsigned_bundle(
    bundle: Path, prepared: Path, keys: Keys, tmp_path: Path, door: str
) -> None:
    with pytest.raises(BundleError, match="has no signature"):
        _doors(str(bundle), prepared / "test", tmp_path / "out", keys.public)[door]()
    assert not (tmp_path / "out").exists()


def test_evaluation_refuses_an_unsigned_bundle_to_compare_with(
    signed: Path, bundle: Path, prepared: Path, keys: Keys, tmp_path: Path
) -> None:
    config = EvaluateConfig(
        bundle=str(signed),
        against=str(bundle),
        input=str(prepared / "test"),
        output=str(tmp_path / "out"),
        require_signature=keys.public,
    )
    with pytest.raises(BundleError, match="has no signature"):
        evaluate_bundle(config)


def test_evaluation_takes_a_signed_bundle(signed: Path, prepared: Path, keys: Keys, tmp_path: Path) -> None:
    assert _doors(str(signed), prepared / "test", tmp_path / "out", keys.public)["evaluate"]()


def test_the_service_takes_a_signed_bundle(
    signed: Path, prepared: Path, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[object] = []

    async def end_at_once(server: object, **_: object) -> None:
        served.append(server)

    monkeypatch.setattr("uvicorn.Server.serve", end_at_once)
    _doors(str(signed), prepared, tmp_path, keys.public)["serve"]()
    assert served


@pytest.mark.parametrize("command", ["predict", "inspect", "verify", "bench", "doctor", "serve"])
def test_every_command_refuses_an_unsigned_bundle(bundle: Path, keys: Keys, command: str) -> None:
    port = ["--port", "0"] if command == "serve" else []
    done = subprocess.run(
        [COMMAND, command, str(bundle), "--require-signature", keys.public, *port], input=b"", capture_output=True
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"error: {bundle} has no signature" in done.stderr.decode()


def test_a_command_takes_a_signed_bundle_and_prints_its_result_alone(signed: Path, keys: Keys) -> None:
    done = subprocess.run(
        [COMMAND, "verify", str(signed), "--require-signature", keys.public], capture_output=True, check=True
    )
    assert json.loads(done.stdout)["verified"] is True


@pytest.mark.parametrize("arguments", [["verify", "scores"], ["doctor"]])
def test_a_signature_that_would_not_be_checked_is_not_taken(keys: Keys, arguments: list[str]) -> None:
    done = subprocess.run([COMMAND, *arguments, "--require-signature", keys.public], capture_output=True)
    assert (done.returncode, done.stdout) == (2, b"")
    assert "error: --require-signature" in done.stderr.decode()


def test_a_missing_library_is_named_with_its_pip_command(signed: Path, keys: Keys) -> None:
    code = (
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'model_signing' else find(name, package)\n"
        "from sentiment_ray import Predictor\n"
        f"try: Predictor.load({str(signed)!r}, require_signature={keys.public!r})\n"
        "except ImportError as error: print(error)"
    )
    assert importlib.util.find_spec("model_signing")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("pip install 'sentiment-ray[sign]'")

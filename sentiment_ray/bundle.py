"""The bundle on disk: its manifest, its hashes, what it may hold; knows nothing of how its models are run."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sentiment_ray.errors import BundleError, DataError
from sentiment_ray.manifest import fingerprint, read_json, sha256_of_file

FORMAT_VERSION = 1
MANIFEST_NAME = "bundle.json"


class FileEntry(BaseModel):
    """What a file of the bundle must be."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    sha256: str
    bytes: int


class Variant(BaseModel):
    """One ONNX file: how exact it is against torch and how fast it ran where it was exported.

    `gate` and `bench` hold one entry an engine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str
    precision: Literal["fp32", "fp16", "int8"]
    gate: dict[str, dict[str, Any]]
    bench: dict[str, dict[str, Any]]


class Default(BaseModel):
    """The engine and variant that `auto` picks on a kind of device."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    engine: str
    variant: str


class SelfTest(BaseModel):
    """Short texts and what torch says of them, by which a loader sees that this processor computes as the exporter's.

    `probabilities` has a row a text; `differences` how far each variant's were from them, at most, by engine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    texts: tuple[str, ...]
    probabilities: tuple[tuple[float, ...], ...]
    differences: dict[str, dict[str, float]]


class Manifest(BaseModel):
    """The content of bundle.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format_version: int
    bundle_id: str
    labels: tuple[str, ...]
    max_tokens: int
    steps: tuple[str, ...]
    thresholds: dict[str, float]
    variants: dict[str, Variant]
    defaults: dict[str, Default]
    files: dict[str, FileEntry]
    training: dict[str, Any]
    evaluation: dict[str, Any]
    reference: dict[str, Any] = {}
    """Profile (`sentiment_ray.profile`) of held-out reviews as the default variant scores them."""
    temperature: float = 1.0
    """What the checkpoint's logits are divided by in every file."""
    self_test: SelfTest | None = None
    versions: dict[str, str]
    fingerprint: str


class Bundle(BaseModel):
    """A verified bundle: where it stands and what its manifest says."""

    model_config = ConfigDict(frozen=True)
    path: Path
    manifest: Manifest


def describe_bundle_files(path: Path) -> dict[str, FileEntry]:
    """Return hash and size of every file below a bundle directory, except its manifest, by relative path."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != MANIFEST_NAME)
    return {
        file.relative_to(path).as_posix(): FileEntry(sha256=sha256_of_file(file), bytes=file.stat().st_size)
        for file in files
    }


def bundle_id_of(files: dict[str, FileEntry], labels: tuple[str, ...], max_tokens: int, steps: tuple[str, ...]) -> str:
    """Return the identity of a bundle: what its answers depend on, so not the model card and not measured times."""
    hashes = {name: entry.sha256 for name, entry in files.items() if name != "README.md"}
    return fingerprint({"files": hashes, "labels": labels, "max_tokens": max_tokens, "steps": steps})[:16]


def open_bundle(path: str | Path) -> Bundle:
    """Open a bundle after checking its format and every byte of it; BundleError names what does not match."""
    root = Path(path)
    if not root.is_dir():
        raise BundleError(f"There is no bundle at {root}. Make one with: python -m jobs.export_bundle")
    manifest = _read_manifest(root / MANIFEST_NAME)
    _check_files(root, manifest.files)
    return Bundle(path=root, manifest=manifest)


def _read_manifest(path: Path) -> Manifest:
    try:
        values = read_json(path)
    except DataError as error:
        raise BundleError(f"{path.parent} is no bundle that can be used: {error}") from None
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{path}: format_version is {version!r}, this release reads {FORMAT_VERSION}. "
            "Upgrade sentiment-ray, or export the bundle again."
        )
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path}: {key}: {first['msg']}. Export the bundle again.") from None


def _check_files(root: Path, files: dict[str, FileEntry]) -> None:
    found = {
        entry.relative_to(root).as_posix(): entry
        for entry in root.rglob("*")
        if not entry.is_dir() or entry.is_symlink()
    }
    for name, entry in found.items():
        if entry.is_symlink():
            raise BundleError(
                f"{root}/{name} is a symbolic link; a bundle holds plain files only. Copy the file itself."
            )
        if name not in files and name != MANIFEST_NAME:
            raise BundleError(f"{root}/{name} is not listed in {MANIFEST_NAME}. Remove it, or export the bundle again.")
    for name, expected in files.items():
        if name not in found:
            raise BundleError(f"{root}/{name} is missing. Copy the bundle again, or export it again.")
        size = found[name].stat().st_size
        if size != expected.bytes or sha256_of_file(found[name]) != expected.sha256:
            raise BundleError(
                f"{root}/{name} is not the file that was exported ({size} bytes, {expected.bytes} expected; "
                "its sha256 differs). Copy the bundle again, or export it again."
            )

"""The bundle on disk: its manifest and its hashes, checked before anything in it is used; does not run its models.

docs/bundle.md is the format.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from sentiment_ray.bundle.files import list_files, parse_json, read_file
from sentiment_ray.bundle.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    MAX_BYTES,
    MODELS,
    FileEntry,
    Manifest,
    first_fault,
)
from sentiment_ray.bundle.model_config import check_model_files
from sentiment_ray.bundle.onnx_scan import scan_model
from sentiment_ray.errors import BundleError
from sentiment_ray.manifest import sha256_of_file

MAX_MANIFEST_BYTES = 16 << 20


@dataclass(frozen=True)
class Bundle:
    """A bundle of which all but the models was checked; `model` checks each of them as it is read.

    `tokenizer` is tokenizer.json. Every file is read once: the bytes that are used are those that were checked.
    """

    path: Path
    manifest: Manifest
    tokenizer: bytes = field(repr=False)

    def model(self, variant: str) -> bytes:
        """Return the ONNX file of a variant; BundleError when it is not what was exported, or could do harm."""
        name = self.manifest.variants[variant].file
        data = _read(self.path, name, self.manifest.files[name])
        scan_model(data, f"{self.path / name}", num_labels=len(self.manifest.labels))
        return data


def describe_bundle_files(path: Path) -> dict[str, FileEntry]:
    """Return hash and size of every file below a bundle directory, except its manifest, by relative path."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != MANIFEST_NAME)
    return {
        file.relative_to(path).as_posix(): FileEntry(sha256=sha256_of_file(file), bytes=file.stat().st_size)
        for file in files
    }


def open_bundle(path: str | Path) -> Bundle:
    """Open a bundle after checking all of it but the bytes of its models; BundleError names what may not be.

    A model is read, hashed and scanned when it is asked for, so that loading one variant costs what that one costs.
    """
    root = Path(path)
    if not root.is_dir():
        raise BundleError(f"There is no bundle at {root}. Make one with: python -m jobs.export_bundle")
    found = list_files(root, folders=(MODELS,))
    manifest = _read_manifest(root)
    _check_listing(root, manifest.files, found)
    contents = {name: _read(root, name, manifest.files[name]) for name in MAX_BYTES if name in manifest.files}
    check_model_files(contents, root, labels=manifest.labels, max_tokens=manifest.max_tokens)
    return Bundle(path=root, manifest=manifest, tokenizer=contents["tokenizer.json"])


def verify_bundle(path: str | Path) -> Bundle:
    """Open a bundle after checking every byte of it, each of its models among them; BundleError as `open_bundle`."""
    bundle = open_bundle(path)
    for variant in bundle.manifest.variants:
        bundle.model(variant)
    return bundle


def _read_manifest(root: Path) -> Manifest:
    path = root / MANIFEST_NAME
    data = read_file(root, MANIFEST_NAME, max_bytes=MAX_MANIFEST_BYTES)
    version = parse_json(data, path).get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise BundleError(
            f"{path}: format_version is {version!r}, this release reads {FORMAT_VERSION}. "
            "Upgrade sentiment-ray, or export the bundle again."
        )
    try:
        return Manifest.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise BundleError(f"{path}: {first_fault(error)}. Export the bundle again.") from None


def _check_listing(root: Path, files: dict[str, FileEntry], found: dict[str, int]) -> None:
    for name in found:
        if name not in files and name != MANIFEST_NAME:
            raise BundleError(f"{root / name} is not listed in {MANIFEST_NAME}. Remove it, or export the bundle again.")
    for name, entry in files.items():
        if name not in found:
            raise BundleError(f"{root / name} is missing. Copy the bundle again, or export it again.")
        if found[name] != entry.bytes:
            raise _altered(root, name, f"{found[name]:,} bytes, {entry.bytes:,} expected")


def _read(root: Path, name: str, entry: FileEntry) -> bytes:
    data = read_file(root, name, max_bytes=entry.bytes)
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise _altered(root, name, "its sha256 differs")
    return data


def _altered(root: Path, name: str, found: str) -> BundleError:
    return BundleError(
        f"{root / name} is not the file that was exported ({found}). Copy the bundle again, or export it again."
    )

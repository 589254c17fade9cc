"""Opens a bundle on disk. Checks its manifest and its hashes before anything in it is used. Runs no model.

docs/bundle.md describes the format.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from sentiment_ray.bundle.files import list_files, parse_json, quote, read_file
from sentiment_ray.bundle.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    MAX_BYTES,
    MAX_MANIFEST_BYTES,
    MAX_MANIFEST_VALUES,
    MAX_SIGNATURE_BYTES,
    MODELS_FOLDER,
    SIGNATURE_NAME,
    FileEntry,
    Manifest,
    describe_first_error,
)
from sentiment_ray.bundle.model_config import check_model_files
from sentiment_ray.bundle.onnx_scan import scan_model
from sentiment_ray.errors import BundleError
from sentiment_ray.file_content import START_BYTES, describe_content
from sentiment_ray.manifest import hash_file

MAX_STAND_IN_BYTES = 1 << 20
"""A file that stands in for another, such as a pointer or a web page, is smaller than this."""
COPY = "Copy the bundle again, or export it again."


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were checked, except for the models: `model` checks each one as it reads it.

    `contents` has the bytes of every other file by name. Each file is read once: the bytes that were checked are the
    bytes that are used.
    """

    path: Path
    manifest: Manifest
    contents: Mapping[str, bytes] = field(repr=False)

    @property
    def tokenizer(self) -> bytes:
        """The bytes of tokenizer.json."""
        return self.contents["tokenizer.json"]

    def model(self, variant: str) -> bytes:
        """Return the ONNX file of a variant. BundleError when it is not the exported file, or could do harm."""
        name = self.manifest.variants[variant].file
        data = _read_listed(self.path, name, self.manifest.files[name])
        scan_model(data, f"{self.path / name}", num_labels=len(self.manifest.labels))
        return data

    def hashes(self) -> dict[str, str]:
        """Return the sha256 of every file, the manifest included and the signature not, by name."""
        listed = {name: entry.sha256 for name, entry in self.manifest.files.items()}
        return listed | {MANIFEST_NAME: hashlib.sha256(self.contents[MANIFEST_NAME]).hexdigest()}


def describe_bundle_files(path: Path) -> dict[str, FileEntry]:
    """Return hash and size of every file below a bundle's directory that its manifest lists, by relative name."""
    unlisted = (MANIFEST_NAME, SIGNATURE_NAME)
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name not in unlisted)
    return {
        file.relative_to(path).as_posix(): FileEntry(sha256=hash_file(file), bytes=file.stat().st_size)
        for file in files
    }


def open_bundle(path: str | Path, *, require_signature: str | Path | None = None) -> Bundle:
    """Open a bundle after checking all of it except the bytes of its models. BundleError names what is wrong.

    A model is read, hashed and scanned when it is asked for, so loading one variant costs only that variant.
    With `require_signature`, the file of a public key, the bundle must carry a signature of all its files by that key.
    """
    root = Path(path)
    if not os.path.lexists(root / MANIFEST_NAME):
        raise BundleError(_explain_no_bundle(root))
    sizes = list_files(root, folders=(MODELS_FOLDER,))
    contents = {MANIFEST_NAME: read_file(root, MANIFEST_NAME, max_bytes=MAX_MANIFEST_BYTES)}
    manifest = _parse_manifest(contents[MANIFEST_NAME], root / MANIFEST_NAME)
    _check_listing(root, manifest.files, sizes)
    if SIGNATURE_NAME in sizes:
        contents[SIGNATURE_NAME] = read_file(root, SIGNATURE_NAME, max_bytes=MAX_SIGNATURE_BYTES)
    bundle = Bundle(path=root, manifest=manifest, contents=contents)
    if require_signature is not None:
        _check_signature(bundle, require_signature)
    listed = {name: _read_listed(root, name, manifest.files[name]) for name in MAX_BYTES if name in manifest.files}
    check_model_files(listed, root, labels=manifest.labels, max_tokens=manifest.max_tokens)
    contents.update(listed)
    return bundle


def verify_bundle(path: str | Path, *, require_signature: str | Path | None = None) -> Bundle:
    """Open a bundle after checking every byte of it, including every model. Errors as in `open_bundle`."""
    bundle = open_bundle(path, require_signature=require_signature)
    for variant in bundle.manifest.variants:
        bundle.model(variant)
    return bundle


def _check_signature(bundle: Bundle, public_key: str | Path) -> None:
    from sentiment_ray.bundle.signature import check_signature  # needs the extra `sign`

    if SIGNATURE_NAME not in bundle.contents:
        raise BundleError(
            f"{bundle.path} has no signature ({SIGNATURE_NAME}), but one by {public_key} is required. "
            "Ask the author for a signed bundle, or sign your own: python -m jobs.export_bundle ... --sign-key KEY"
        )
    check_signature(bundle.contents[SIGNATURE_NAME], bundle.hashes(), public_key, source=bundle.path / SIGNATURE_NAME)


def _parse_manifest(data: bytes, source: Path) -> Manifest:
    version = parse_json(data, source, max_values=MAX_MANIFEST_VALUES).get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise BundleError(
            f"{source}: format_version is {quote(version)}, this release reads {FORMAT_VERSION}. "
            "Upgrade sentiment-ray, or export the bundle again."
        )
    try:
        return Manifest.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise BundleError(f"{source}: {describe_first_error(error)}. Export the bundle again.") from None


def _check_listing(root: Path, files: dict[str, FileEntry], sizes: dict[str, int]) -> None:
    """Refuse a file that the manifest does not list, a listed file that is missing, and one of another size."""
    for name in sizes:
        if name not in files and name not in (MANIFEST_NAME, SIGNATURE_NAME):
            raise BundleError(f"{root / name} is not listed in {MANIFEST_NAME}. Remove it, or export the bundle again.")
    for name, entry in files.items():
        if name not in sizes:
            raise BundleError(f"{root / name} is missing. {COPY}")
        if sizes[name] != entry.bytes:
            raise _explain_size(root, name, sizes[name], entry.bytes)


def _explain_size(root: Path, name: str, num_bytes: int, expected: int) -> BundleError:
    """Return what a file of another size than the manifest's is, such as a pointer or half of a file."""
    if num_bytes < min(expected, MAX_STAND_IN_BYTES):
        description = describe_content(read_file(root, name, max_bytes=num_bytes)[:START_BYTES], remedy=COPY)
        if description:
            return BundleError(f"{root / name} {description}")
    return _altered(root, name, f"{num_bytes:,} bytes, {expected:,} expected")


def _explain_no_bundle(root: Path) -> str:
    """Return what is at a path where no bundle is, and what to do."""
    make = "Make one with: python -m jobs.export_bundle"
    if root.exists() and not root.is_dir():
        return f"{root} is a file, not the directory of a bundle. {make}"
    if not root.exists():
        return f"There is no bundle at {root}. {make}"
    for name, kind in (("run.json", "a run"), ("config.json", "a model"), ("prepared.json", "prepared reviews")):
        if (root / name).exists():
            return f"{root} holds {kind}, not a bundle ({MANIFEST_NAME} is missing). {make}"
    inside = sorted(path.parent.name for path in root.glob(f"*/{MANIFEST_NAME}"))
    if inside:
        return f"{root} is no bundle, but holds one. Name it: {root / inside[0]}"
    return f"{root / MANIFEST_NAME} is missing. {COPY}"


def _read_listed(root: Path, name: str, entry: FileEntry) -> bytes:
    data = read_file(root, name, max_bytes=entry.bytes)
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise _altered(root, name, "its sha256 differs")
    return data


def _altered(root: Path, name: str, reason: str) -> BundleError:
    return BundleError(f"{root / name} is not the file that was exported ({reason}). {COPY}")

"""The bundle on disk: its manifest and its hashes, checked before anything in it is used; does not run its models.

docs/bundle.md is the format.
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sentiment_ray.bundle_files import list_files, parse_json, read_file
from sentiment_ray.errors import BundleError
from sentiment_ray.labels import is_label
from sentiment_ray.manifest import fingerprint, sha256_of_file
from sentiment_ray.model_config import check_model_files
from sentiment_ray.onnx_scan import scan_model

FORMAT_VERSION = 1
MANIFEST_NAME = "bundle.json"
MAX_MANIFEST_BYTES = 16 << 20
MODELS = "onnx"
MODEL_NAME = re.compile(MODELS + r"/[a-z0-9_]{1,64}\.onnx")
MAX_MODEL_BYTES = (1 << 31) - 1
"""Where a protocol buffer ends."""
MAX_BYTES = {
    "README.md": 4 << 20,
    "config.json": 1 << 20,
    "tokenizer.json": 64 << 20,
    "tokenizer_config.json": 4 << 20,
    "special_tokens_map.json": 1 << 20,
}
"""The files that a bundle may hold beside its manifest and its models, and how large each may be."""
MAX_BUNDLE_BYTES = 8 << 30
NEEDED = ("config.json", "tokenizer.json")
MAX_MESSAGE = 500
"""Characters; what is quoted from a manifest may have no end."""

EngineName = Annotated[str, Field(pattern=r"^(onnxruntime|openvino)$")]
VariantName = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=1 << 53)]


def _plain_label(label: str) -> str:
    if not is_label(label):
        raise ValueError(
            f"{label[:50]!r} is no label: empty, too long, with spaces around it or a control character in it"
        )
    return label


class FileEntry(BaseModel):
    """What a file of the bundle must be."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    sha256: Digest
    bytes: Count


class Variant(BaseModel):
    """One ONNX file: how exact it is against torch and how fast it ran where it was exported.

    `gate` and `bench` hold one entry an engine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str
    precision: Literal["fp32", "fp16", "int8"]
    gate: dict[EngineName, dict[str, Any]]
    bench: dict[EngineName, dict[str, Any]]

    @model_validator(mode="after")
    def _says_what_auto_asks(self) -> "Variant":
        for engine, gate in self.gate.items():
            rate = self.bench.get(engine, {}).get("rows_per_s")
            if not isinstance(gate.get("passed"), bool) or not isinstance(rate, int | float):
                raise ValueError(
                    f"{engine} needs `passed` (true or false) in gate and `rows_per_s` (a number) in bench"
                )
        return self


class Default(BaseModel):
    """The engine and variant that `auto` picks on a kind of device."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    engine: EngineName
    variant: VariantName


class Reference(BaseModel):
    """What a profile (`sentiment_ray.profile`) must be for others to be compared with it."""

    rows: Count
    truncated: Count
    labels: dict[str, Count]
    confidence: dict[Annotated[str, Field(pattern=r"^\d\.\d\d-\d\.\d\d$")], Count]
    tokens: dict[Annotated[str, Field(pattern=r"^\d{1,9}-\d{1,9}$")], Count]
    script: dict[str, Count]
    words: dict[str, Count]


class SelfTest(BaseModel):
    """Short texts and what torch says of them, by which a loader sees that this processor computes as the exporter's.

    `probabilities` has a row a text; `differences` how far each variant's were from them, at most, by engine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    texts: Annotated[tuple[Annotated[str, Field(max_length=1000)], ...], Field(min_length=1, max_length=64)]
    probabilities: tuple[tuple[Share, ...], ...]
    differences: dict[VariantName, dict[EngineName, Share]]


class Manifest(BaseModel):
    """The content of bundle.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format_version: int
    bundle_id: str
    labels: Annotated[tuple[Annotated[str, AfterValidator(_plain_label)], ...], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int, Field(ge=2, le=1 << 16)]
    steps: Annotated[tuple[str, ...], Field(max_length=0)]
    """What is done to texts before they are read; no step is known yet."""
    thresholds: dict[str, Share]
    variants: Annotated[dict[VariantName, Variant], Field(min_length=1)]
    defaults: dict[str, Default]
    files: dict[str, FileEntry]
    training: dict[str, Any]
    evaluation: dict[str, Any]
    reference: dict[str, Any] = {}
    """Profile (`sentiment_ray.profile`) of held-out reviews as the default variant scores them."""
    temperature: Annotated[float, Field(gt=0, lt=1000)] = 1.0
    """What the checkpoint's logits are divided by in every file."""
    self_test: SelfTest | None = None
    versions: dict[str, str]
    fingerprint: Digest

    @field_validator("reference")
    @classmethod
    def _is_a_profile(cls, reference: dict[str, Any]) -> dict[str, Any]:
        try:
            if reference:
                Reference.model_validate(reference, strict=True)
        except ValidationError as error:
            raise ValueError(_first_of(error)) from None
        return reference

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Manifest":
        _check_names(self.files)
        models = sorted(variant.file for variant in self.variants.values())
        listed = sorted(name for name in self.files if MODEL_NAME.fullmatch(name))
        if models != listed:
            raise ValueError(f"the variants are in {', '.join(models)}, the ONNX files listed are {', '.join(listed)}")
        if len(set(self.labels)) != len(self.labels) or not self.thresholds.keys() <= set(self.labels):
            raise ValueError("a label comes twice, or a threshold is for none of them")
        test = self.self_test
        if test and {len(row) for row in test.probabilities} | {len(self.labels)} != {len(self.labels)}:
            raise ValueError("self_test has not a probability for each label")
        if test and len(test.texts) != len(test.probabilities):
            raise ValueError(f"self_test has {len(test.texts)} texts and {len(test.probabilities)} answers")
        if "cpu" not in self.defaults:
            raise ValueError("defaults has no entry for 'cpu'")
        for device, chosen in self.defaults.items():
            variant = self.variants.get(chosen.variant)
            if variant is None or not variant.gate.get(chosen.engine, {}).get("passed"):
                raise ValueError(f"the default for {device!r} is no variant that passed its gate")
        if self.bundle_id != bundle_id_of(self.files, self.labels, self.max_tokens, self.steps):
            raise ValueError(f"bundle_id {self.bundle_id[:32]!r} is not that of these files, labels and max_tokens")
        return self


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


def bundle_id_of(files: dict[str, FileEntry], labels: tuple[str, ...], max_tokens: int, steps: tuple[str, ...]) -> str:
    """Return the identity of a bundle: what its answers depend on, so not the model card and not measured times."""
    hashes = {name: entry.sha256 for name, entry in files.items() if name != "README.md"}
    return fingerprint({"files": hashes, "labels": labels, "max_tokens": max_tokens, "steps": steps})[:16]


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
        raise BundleError(f"{path}: {_first_of(error)}. Export the bundle again.") from None


def _first_of(error: ValidationError) -> str:
    """Return the key and the fault that pydantic names first, in one line of bounded length."""
    first = error.errors()[0]
    where = ".".join(str(part)[:100] for part in first["loc"])
    return f"{where}: ".removeprefix(": ") + first["msg"].removeprefix("Value error, ")[:MAX_MESSAGE]


def _check_names(files: dict[str, FileEntry]) -> None:
    """Raise ValueError for a name that no file of a bundle has, and for sizes beyond bounds.

    What is let through is plain: no path leads out, and no two names are one on a disk that ignores case.
    """
    for name, entry in files.items():
        limit = MAX_MODEL_BYTES if MODEL_NAME.fullmatch(name) else MAX_BYTES.get(name)
        if limit is None:
            known = f"{', '.join(MAX_BYTES)} and {MODELS}/NAME.onnx"
            raise ValueError(f"files: {name!r} is no file of a bundle, which holds {known}")
        if entry.bytes > limit:
            raise ValueError(f"files: {name} has {entry.bytes:,} bytes, at most {limit:,} are read of such a file")
    missing = [name for name in NEEDED if name not in files]
    if missing:
        raise ValueError(f"files: {missing[0]} is not among them")
    if sum(entry.bytes for entry in files.values()) > MAX_BUNDLE_BYTES:
        raise ValueError(f"files: together they have more than {MAX_BUNDLE_BYTES:,} bytes")


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

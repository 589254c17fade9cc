"""What bundle.json may say, and whether its keys agree with each other. Reads no file.

docs/bundle.md describes the format.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sentiment_ray.config.sections import Share, is_unset
from sentiment_ray.engine_specs import cpu_engines
from sentiment_ray.labels import is_label
from sentiment_ray.manifest import fingerprint
from sentiment_ray.text.cleaning import check_cleaning_steps
from sentiment_ray.text.truncation import HEAD, Truncation

FORMAT_VERSION = 1
MANIFEST_NAME = "bundle.json"
SIGNATURE_NAME = "model.sig"
"""The name that OpenSSF model signing gives to a signature. It signs the manifest, so the manifest cannot list it."""
MODELS_FOLDER = "onnx"
MODEL_NAME = re.compile(MODELS_FOLDER + r"/[a-z0-9_]{1,64}\.onnx")
MAX_MANIFEST_BYTES = 16 << 20
MAX_MANIFEST_VALUES = 100_000
"""Keys and values of bundle.json; pydantic keeps about a kilobyte for each one that is wrong."""
MAX_SIGNATURE_BYTES = 1 << 20
MAX_MODEL_BYTES = (1 << 31) - 1
"""The largest protocol buffer."""
MAX_BYTES = {
    "README.md": 4 << 20,
    "config.json": 1 << 20,
    "tokenizer.json": 64 << 20,
    "tokenizer_config.json": 4 << 20,
    "special_tokens_map.json": 1 << 20,
}
"""The files that a bundle may hold beside its manifest, its signature and its models, and the largest size of each."""
MAX_BUNDLE_BYTES = 8 << 30
REQUIRED_FILES = ("config.json", "tokenizer.json")
MAX_METADATA_TEXTS, MAX_METADATA_CHARACTERS = 10_000, 1 << 20
MAX_MESSAGE_CHARACTERS = 500
"""A message may quote the manifest, which may hold a text of any length."""

VariantName = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=1 << 53)]


def _check_label(label: str) -> str:
    if not is_label(label):
        raise ValueError(
            f"{label[:50]!r} cannot be a label: it is empty, too long, has spaces around it or a control character"
        )
    return label


def _check_engine(name: str) -> str:
    if name not in cpu_engines():
        raise ValueError(f"{name[:50]!r} is not the name of an engine that has a gate")
    return name


EngineName = Annotated[str, AfterValidator(_check_engine)]


def _check_metadata(metadata: dict[str, str | tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
    texts = [text for value in metadata.values() for text in ((value,) if isinstance(value, str) else value)]
    num_characters = sum(map(len, texts))
    if len(texts) > MAX_METADATA_TEXTS or num_characters > MAX_METADATA_CHARACTERS:
        raise ValueError(
            f"it has {len(texts):,} texts and {num_characters:,} characters, at most {MAX_METADATA_TEXTS:,} and "
            f"{MAX_METADATA_CHARACTERS:,} are kept"
        )
    return metadata


Metadata = Annotated[
    dict[Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$")], str | tuple[str, ...]], AfterValidator(_check_metadata)
]
"""Texts and lists of texts by name."""


class FileEntry(BaseModel):
    """Size and hash of one file of the bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    sha256: Digest
    bytes: Count


class BatchInvariance(BaseModel):
    """What the export tried to see whether an engine gives each text the same bits in every batch.

    `texts_alone` of the `texts` were also scored alone. `longest` is the length in tokens of the longest row, and
    `differing` the number of texts whose bits were not everywhere the same. `version` is that of the engine's package.
    `padded_lengths` says to which lengths rows were padded; earlier releases, which had others, recorded none.
    """

    texts: Count
    texts_alone: Count
    longest: Count
    tokens_per_batch: Count
    differing: Count
    version: Annotated[str, Field(max_length=100)]
    instruction_sets: Annotated[list[Annotated[str, Field(max_length=32)]], Field(max_length=64)]
    padded_lengths: Annotated[str, Field(max_length=200)] | None = None


class Variant(BaseModel):
    """One ONNX file: how close it is to torch, and how fast it ran on the machine that exported it.

    `gate` and `bench` hold one entry for each engine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str
    precision: Literal["fp32", "fp16", "int8"]
    gate: dict[EngineName, dict[str, Any]]
    bench: dict[EngineName, dict[str, Any]]

    @model_validator(mode="after")
    def _has_what_auto_needs(self) -> "Variant":
        for engine, gate in self.gate.items():
            rate = self.bench.get(engine, {}).get("rows_per_s")
            if not isinstance(gate.get("passed"), bool) or not isinstance(rate, int | float):
                raise ValueError(
                    f"{engine} needs `passed` (true or false) in gate and `rows_per_s` (a number) in bench"
                )
            if "batch_invariance" in gate:  # earlier releases recorded none
                _check_part(BatchInvariance, gate["batch_invariance"], f"{engine}: batch_invariance: ")
        return self


class Default(BaseModel):
    """The engine and variant that `auto` picks on one kind of device."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    engine: EngineName
    variant: VariantName


class Reference(BaseModel):
    """The keys that a profile needs, so that `sentiment_ray.inference.drift` can compare another one with it."""

    rows: Count
    truncated: Count
    labels: dict[str, Count]
    confidence: dict[Annotated[str, Field(pattern=r"^\d\.\d\d-\d\.\d\d$")], Count]
    tokens: dict[Annotated[str, Field(pattern=r"^\d{1,9}-\d{1,9}$")], Count]
    script: dict[str, Count]
    words: dict[str, Count]


class BaseModelMetrics(BaseModel):
    """Metrics of the encoder before fine-tuning, and the rows they were measured on."""

    method: Annotated[str, Field(max_length=200)]
    split: Annotated[str, Field(max_length=200)]
    rows: Count
    accuracy: Share
    macro_f1: Share


class SelfTest(BaseModel):
    """Short texts and torch's answers, by which a loader sees whether its processor computes as the exporter's did.

    `probabilities` has one row for each text. `differences` has, by variant and engine, the largest difference from
    these probabilities at the export.
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
    labels: Annotated[tuple[Annotated[str, AfterValidator(_check_label)], ...], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int, Field(ge=2, le=1 << 16)]
    truncation: Annotated[Truncation, Field(discriminator="mode")] = HEAD
    """Which part of a longer text is read."""
    steps: Annotated[tuple[str, ...], AfterValidator(check_cleaning_steps)]
    """Cleaning steps of `sentiment_ray.text.cleaning`, applied to every text in this order."""
    thresholds: dict[str, Share]
    variants: Annotated[dict[VariantName, Variant], Field(min_length=1)]
    defaults: dict[str, Default]
    files: dict[str, FileEntry]
    training: dict[str, Any]
    evaluation: dict[str, Any]
    reference: dict[str, Any] = {}
    """Profile (`sentiment_ray.inference.drift`) of the held-out reviews, scored by the default variant."""
    temperature: Annotated[float, Field(gt=0, lt=1000)] = 1.0
    """Every ONNX file divides the checkpoint's logits by this number."""
    self_test: SelfTest | None = None
    metadata: Annotated[Metadata, Field(exclude_if=is_unset)] = {}
    """What `[export.metadata]` said, such as the system messages of a chat file; no answer depends on it."""
    versions: dict[str, str]
    fingerprint: Digest

    @field_validator("reference")
    @classmethod
    def _check_reference(cls, reference: dict[str, Any]) -> dict[str, Any]:
        if reference:
            _check_part(Reference, reference, "")
        return reference

    @field_validator("training")
    @classmethod
    def _check_base_model(cls, training: dict[str, Any]) -> dict[str, Any]:
        if "base_model" in training:
            _check_part(BaseModelMetrics, training["base_model"], "base_model: ")
        return training

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Manifest":
        _check_files(self.files)
        models = sorted(variant.file for variant in self.variants.values())
        listed = sorted(name for name in self.files if MODEL_NAME.fullmatch(name))
        if models != listed:
            raise ValueError(f"the variants are in {', '.join(models)}, the ONNX files listed are {', '.join(listed)}")
        if len(set(self.labels)) != len(self.labels) or not self.thresholds.keys() <= set(self.labels):
            raise ValueError("a label comes twice, or a threshold is for an unknown label")
        test = self.self_test
        if test and {len(row) for row in test.probabilities} | {len(self.labels)} != {len(self.labels)}:
            raise ValueError("self_test does not have one probability for each label")
        if test and len(test.texts) != len(test.probabilities):
            raise ValueError(
                f"self_test has {len(test.texts)} texts and {len(test.probabilities)} rows of probabilities"
            )
        if "cpu" not in self.defaults:
            raise ValueError("defaults has no entry for 'cpu'")
        for device, default in self.defaults.items():
            variant = self.variants.get(default.variant)
            if variant is None or not variant.gate.get(default.engine, {}).get("passed"):
                raise ValueError(f"the default for {device!r} is not a variant that passed its gate")
        if self.bundle_id != compute_bundle_id(self.files, self.labels, self.max_tokens, self.steps, self.truncation):
            known = "files, labels, max_tokens, steps and truncation"
            raise ValueError(f"bundle_id {self.bundle_id[:32]!r} does not belong to these {known}")
        return self


def compute_bundle_id(
    files: dict[str, FileEntry],
    labels: tuple[str, ...],
    max_tokens: int,
    cleaning_steps: tuple[str, ...],
    truncation: Truncation,
) -> str:
    """Return the identity of a bundle: a hash of all that its answers depend on.

    The model card and measured speeds are no part of it.
    """
    hashes = {name: entry.sha256 for name, entry in files.items() if name != "README.md"}
    identity: dict[str, Any] = {"files": hashes, "labels": labels, "max_tokens": max_tokens, "steps": cleaning_steps}
    if truncation != HEAD:  # older bundles have no key `truncation` and keep their identity
        identity["truncation"] = truncation.model_dump()
    return fingerprint(identity)[:16]


def is_bundle_file(name: str) -> bool:
    """Whether a bundle may hold a file of this name."""
    return name in MAX_BYTES or name in (MANIFEST_NAME, SIGNATURE_NAME) or bool(MODEL_NAME.fullmatch(name))


def describe_first_error(error: ValidationError) -> str:
    """Return the first key that pydantic refuses and why, in one line of bounded length."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    key = ".".join(str(part)[:100] for part in first["loc"])
    return f"{key}: ".removeprefix(": ") + first["msg"].removeprefix("Value error, ")[:MAX_MESSAGE_CHARACTERS]


def _check_part(model: type[BaseModel], value: Any, key: str) -> None:
    """Raise ValueError, whose message begins with `key`, unless a value has the form of `model`."""
    try:
        model.model_validate(value, strict=True)
    except ValidationError as error:
        raise ValueError(f"{key}{describe_first_error(error)}") from None


def _check_files(files: dict[str, FileEntry]) -> None:
    """Raise ValueError for a name that a bundle may not hold, or a size out of bounds.

    The names that pass are plain: no path leads out of the directory, and no two names differ by case alone.
    """
    for name, entry in files.items():
        limit = MAX_MODEL_BYTES if MODEL_NAME.fullmatch(name) else MAX_BYTES.get(name)
        if limit is None:
            known = f"{', '.join(MAX_BYTES)} and {MODELS_FOLDER}/NAME.onnx"
            raise ValueError(f"files: {name!r} cannot be in a bundle, which holds {known}")
        if entry.bytes > limit:
            raise ValueError(f"files: {name} has {entry.bytes:,} bytes, at most {limit:,} are read of such a file")
    missing = [name for name in REQUIRED_FILES if name not in files]
    if missing:
        raise ValueError(f"files: {missing[0]} is missing")
    if sum(entry.bytes for entry in files.values()) > MAX_BUNDLE_BYTES:
        raise ValueError(f"files: together they have more than {MAX_BUNDLE_BYTES:,} bytes")

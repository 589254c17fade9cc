"""What bundle.json may say, and that it agrees with itself; reads no file and knows no disk.

docs/bundle.md is the format.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sentiment_ray.config.sections import Share
from sentiment_ray.labels import is_label
from sentiment_ray.manifest import fingerprint
from sentiment_ray.text.cleaning import check_steps
from sentiment_ray.text.truncation import HEAD, Truncation

FORMAT_VERSION = 1
MANIFEST_NAME = "bundle.json"
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
    """What a profile (`sentiment_ray.inference.drift`) must be for others to be compared with it."""

    rows: Count
    truncated: Count
    labels: dict[str, Count]
    confidence: dict[Annotated[str, Field(pattern=r"^\d\.\d\d-\d\.\d\d$")], Count]
    tokens: dict[Annotated[str, Field(pattern=r"^\d{1,9}-\d{1,9}$")], Count]
    script: dict[str, Count]
    words: dict[str, Count]


class BaseModelMetrics(BaseModel):
    """How right the encoder was before it was fine-tuned, and on which rows."""

    method: Annotated[str, Field(max_length=200)]
    split: Annotated[str, Field(max_length=200)]
    rows: Count
    accuracy: Share
    macro_f1: Share


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
    truncation: Annotated[Truncation, Field(discriminator="mode")] = HEAD
    """What is read of a text that has more tokens."""
    steps: Annotated[tuple[str, ...], AfterValidator(check_steps)]
    """What is done to texts before they are read, in this order: steps of `sentiment_ray.text.cleaning`."""
    thresholds: dict[str, Share]
    variants: Annotated[dict[VariantName, Variant], Field(min_length=1)]
    defaults: dict[str, Default]
    files: dict[str, FileEntry]
    training: dict[str, Any]
    evaluation: dict[str, Any]
    reference: dict[str, Any] = {}
    """Profile (`sentiment_ray.inference.drift`) of held-out reviews as the default variant scores them."""
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
            raise ValueError(first_fault(error)) from None
        return reference

    @field_validator("training")
    @classmethod
    def _has_base_model_metrics(cls, training: dict[str, Any]) -> dict[str, Any]:
        try:
            if "base_model" in training:
                BaseModelMetrics.model_validate(training["base_model"], strict=True)
        except ValidationError as error:
            raise ValueError(f"base_model: {first_fault(error)}") from None
        return training

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
        if self.bundle_id != bundle_id_of(self.files, self.labels, self.max_tokens, self.steps, self.truncation):
            known = "files, labels, max_tokens, steps and truncation"
            raise ValueError(f"bundle_id {self.bundle_id[:32]!r} is not that of these {known}")
        return self


def bundle_id_of(
    files: dict[str, FileEntry],
    labels: tuple[str, ...],
    max_tokens: int,
    steps: tuple[str, ...],
    truncation: Truncation,
) -> str:
    """Return the identity of a bundle: what its answers depend on, so not the model card and not measured times."""
    hashes = {name: entry.sha256 for name, entry in files.items() if name != "README.md"}
    identity: dict[str, Any] = {"files": hashes, "labels": labels, "max_tokens": max_tokens, "steps": steps}
    if truncation != HEAD:  # bundles from before there was a choice keep their identity
        identity["truncation"] = truncation.model_dump()
    return fingerprint(identity)[:16]


def is_bundle_file(name: str) -> bool:
    """Whether a bundle may hold a file of this name beside its manifest."""
    return name in MAX_BYTES or bool(MODEL_NAME.fullmatch(name))


def first_fault(error: ValidationError) -> str:
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

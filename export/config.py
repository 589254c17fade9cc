"""The keys of [export]. Imports no torch and no ONNX, so that --help is quick."""

from typing import Annotated

from pydantic import Field, model_validator

from export.variants import VARIANTS
from sentiment_ray.bundle.manifest import Metadata
from sentiment_ray.config.sections import Names, Share, StageConfig, is_unset


class ExportConfig(StageConfig):
    """Keys of [export]."""

    run: str
    """Directory that train_encoder wrote."""
    checkpoint: str | None = None
    """Checkpoint of the run to export; by default the best one."""
    variants: Names = Field(
        default=("fp32", "optimized", "fp16", "int8_weights"),
        description=f"ONNX files to write, of {', '.join(VARIANTS)}.",
    )
    required: str = "fp32"
    """Variant without which there is no bundle: when it misses its gate, the job ends with exit code 3."""
    calibrate: bool = True
    """Fold a temperature into the last layer, so that a probability is the share of right answers; no label changes."""
    calibration_rows: Annotated[int, Field(ge=1)] = 1000
    """Held-out validation reviews that the temperature is fitted on."""
    gate_rows: Annotated[int, Field(ge=1)] = 1000
    """Held-out validation reviews on which every file is compared with torch."""
    batch_rows: Annotated[int, Field(ge=1)] = 256
    """Reviews of the gate that are also scored alone and in padded batches."""
    min_agreement: Share = 0.97
    """Gate: smallest share of rows that must get torch's label, judged by the lower end of its interval."""
    max_mean_difference: Share = 0.02
    """Gate: largest mean difference of a probability from torch's, judged by the upper end of its interval."""
    max_macro_f1_drop: Share = 0.01
    """Gate: largest loss of macro-F1 against torch, judged by the upper end of its interval."""
    max_suite_drop: Share = 0.02
    """Gate: largest loss against torch in the share of the English suite's cases that pass."""
    max_batch_flips: Annotated[int, Field(ge=0)] = 0
    """Gate: number of reviews that may get another label when they are scored alone."""
    max_batch_difference: Share = 0.05
    """Gate: how far a probability may move when a review is scored alone or in a padded batch."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of the engines while they are measured; by default one for each core, at most the CPU quota."""

    metadata: Annotated[Metadata, Field(exclude_if=is_unset)] = {}
    """Table of texts and lists of texts that bundle.json shall hold as `metadata`, such as `source = "orders"`."""
    triton: str | None = None
    """Directory to write a Triton model repository of the bundle to, as well."""
    sign_key: str | None = None
    """File with a private key of an elliptic curve (PEM, no password) that signs the bundle, as model.sig in it."""
    push: str | None = None
    """Where to copy the bundle: a Hub repository as hf://OWNER/NAME, or s3://, gs:// or another URL."""

    @model_validator(mode="after")
    def _check_variants(self) -> "ExportConfig":
        unknown = [name for name in self.variants if name not in VARIANTS]
        if unknown or self.required not in self.variants:
            raise ValueError(
                f"variants = {list(self.variants)} with required = {self.required!r} cannot be exported: "
                f"choose from {', '.join(VARIANTS)}, the required one among them."
            )
        return self

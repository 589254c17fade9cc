"""The keys of [export]. Imports no torch and no ONNX, so that --help is quick."""

from typing import Annotated

from pydantic import Field, model_validator

from export.variants import VARIANTS
from sentiment_ray.bundle.manifest import Metadata
from sentiment_ray.config.sections import Names, Share, StageConfig, is_unset


class ExportConfig(StageConfig):
    """Keys of [export]."""

    run: str | None = None
    """Directory that train_encoder wrote."""
    encoder: Annotated[str | None, Field(exclude_if=is_unset)] = None
    """Instead of a run: an encoder that is not fine-tuned, a directory or a name on the Hub; see --labels."""
    labels: Annotated[Names, Field(exclude_if=is_unset)] = ()
    """Labels that the encoder chooses from: the answer is the one whose description has the nearest embedding."""
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
    def _check_source(self) -> "ExportConfig":
        if self.run is None and self.encoder is None:
            raise ValueError("the key 'run' is missing. Set it in the file or pass --run")
        if self.encoder is not None and (self.run is not None or self.checkpoint is not None):
            raise ValueError("encoder stands instead of run and checkpoint: give one of them")
        if bool(self.labels) != (self.encoder is not None):
            raise ValueError("labels and encoder belong together: a run has its own labels, an encoder has none")
        if self.encoder is not None and "int8_static" in self.variants:
            raise ValueError("int8_static needs reviews to be calibrated on, and an encoder comes without any")
        return self

    @model_validator(mode="after")
    def _check_variants(self) -> "ExportConfig":
        unknown = [name for name in self.variants if name not in VARIANTS]
        if unknown or self.required not in self.variants:
            raise ValueError(
                f"variants = {list(self.variants)} with required = {self.required!r} cannot be exported: "
                f"choose from {', '.join(VARIANTS)}, the required one among them."
            )
        return self

"""The keys of [export]; knows no torch and no ONNX, so that --help is quick."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sentiment_ray.config import Names, StageConfig

Share = Annotated[float, Field(ge=0, le=1)]
VARIANTS = ("fp32", "optimized", "int8", "int8_weights")


class ExportConfig(StageConfig):
    """Keys of [export]."""

    run: str
    """Directory that train_encoder wrote."""
    checkpoint: str | None = None
    """Checkpoint in the run to export; by default the best one."""
    variants: Names = VARIANTS
    """ONNX files to write: fp32, optimized (fused by ONNX Runtime), int8 (dynamic quantisation), int8_weights."""
    required: Literal["fp32", "optimized", "int8", "int8_weights"] = "fp32"
    """Variant without which there is no bundle: when it misses its gate the job ends with exit code 3."""
    gate_rows: Annotated[int, Field(ge=1)] = 1000
    """Held-out validation reviews on which every file is compared with torch."""
    min_agreement: Share = 0.97
    """Gate: share of rows that must get the label that torch gives."""
    max_mean_difference: Share = 0.02
    """Gate: largest mean difference of a probability from torch's."""
    max_macro_f1_drop: Share = 0.01
    """Gate: largest loss of macro-F1 against torch."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of the engines while they are measured; by default every core."""

    @model_validator(mode="after")
    def _known_variants(self) -> "ExportConfig":
        unknown = [name for name in self.variants if name not in VARIANTS]
        if unknown or self.required not in self.variants:
            raise ValueError(
                f"variants = {list(self.variants)} with required = {self.required!r} cannot be exported: "
                f"choose from {', '.join(VARIANTS)}, the required one among them."
            )
        return self

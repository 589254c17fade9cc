"""The keys of [evaluate]; knows no scikit-learn, so that --help is quick."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from sentiment_ray.config.sections import Names, Share, StageConfig

Count = Annotated[int, Field(ge=0)]


def _numbers(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


def _check_shares(shares: tuple[float, ...]) -> tuple[float, ...]:
    if not all(0 < share <= 1 for share in shares):
        raise ValueError("each must be above 0 and at most 1, as in 0.9,0.95,0.99")
    return shares


Shares = Annotated[tuple[float, ...], BeforeValidator(_numbers), AfterValidator(_check_shares)]
"""Several shares: a TOML array, or one flag with commas between them."""


class EvaluateConfig(StageConfig):
    """Keys of [evaluate]."""

    bundle: str
    """Directory that export_bundle wrote."""
    input: str
    """Labelled reviews: a directory of Parquet files or one file, such as the test split."""
    text_column: str = "text"
    """Column that holds the review."""
    label_column: str = "label"
    """Column that holds the label."""
    engine: str = "auto"
    """openvino, onnxruntime, cuda or tensorrt; auto takes the fastest on the CPU that passed the bundle's gate."""
    variant: str = "auto"
    """Variant of the bundle; auto takes the fastest that passed its gate."""
    against: str | None = None
    """Another bundle with the same labels, the champion that this one must not fall behind."""
    against_engine: str = "auto"
    """Engine of the other bundle."""
    against_variant: str = "auto"
    """Variant of the other bundle."""
    max_macro_f1_drop: Share = 0.01
    """Macro-F1 that may be lost to the other bundle; more ends with exit code 3, after the report is written."""
    ordered: bool | None = None
    """Whether the labels are steps of a scale, for quadratic kappa; by default true of the default three alone."""
    slice_by: Names = ()
    """Columns by which quality is told apart; by default source and language, where the input has them."""
    precisions: Shares = (0.9, 0.95, 0.99)
    """Precisions for which to find the score below which the bundle had better abstain."""
    examples: Count = 200
    """Rows of mistakes.parquet and of uncertain.parquet at most."""
    attributions: Count = 5
    """Rows of which the report shows what each word does to the answer."""
    show_texts: bool = True
    """Show texts in the report; the Parquet files hold them in any case."""
    max_rejected: Share = 0.05
    """Share of rows without a text or a known label that may be set aside."""
    seed: Count = 0
    """Seed of the resamples behind the intervals, and of the halves that calibration needs."""

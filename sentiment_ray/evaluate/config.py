"""The keys of [evaluate]; knows no scikit-learn, so that --help is quick."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from sentiment_ray.config.sections import Names, Share, StageConfig
from sentiment_ray.engine_specs import list_engines

Count = Annotated[int, Field(ge=0)]


def _split_commas(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


def _check_shares(shares: tuple[float, ...]) -> tuple[float, ...]:
    if not all(0 < share <= 1 for share in shares):
        raise ValueError("each must be above 0 and at most 1, as in 0.9,0.95,0.99")
    return shares


Shares = Annotated[tuple[float, ...], BeforeValidator(_split_commas), AfterValidator(_check_shares)]
"""Several shares: a TOML array, or one flag with commas between them."""


class EvaluateConfig(StageConfig):
    """Keys of [evaluate]."""

    bundle: str
    """Directory of the bundle that export_bundle wrote."""
    input: str
    """Labelled reviews in Parquet files, such as the test split: a file, a directory or a glob."""
    text_column: str = "text"
    """Column with the review."""
    label_column: str = "label"
    """Column with the label."""
    engine: str = Field(
        "auto", description=f"{list_engines()}. auto is the fastest CPU engine that passed the gate of the bundle."
    )
    variant: str = "auto"
    """Variant of the bundle. auto is the fastest that passed its gate."""
    against: str | None = None
    """Another bundle with the same labels to compare with, such as the one in production."""
    against_engine: str = "auto"
    """Engine of the bundle to compare with."""
    against_variant: str = "auto"
    """Variant of the bundle to compare with."""
    require_signature: str | None = None
    """File with a public key (PEM). Bundles that its owner did not sign are refused, also that of `against`."""
    max_macro_f1_drop: Share = 0.01
    """Maximum loss of macro-F1 to the other bundle, 0 to 1. A larger loss ends with exit code 3."""
    ordered: bool | None = None
    """Whether the labels are steps of a scale, for quadratic kappa. By default only the default labels are."""
    slice_by: Names = ()
    """Columns to slice by: quality is measured for each of their values. Default: source and language, if present."""
    precisions: Shares = (0.9, 0.95, 0.99)
    """Wanted precisions, 0 to 1. For each, the report has the score below which a person should decide."""
    examples: Count = 200
    """Maximum rows of mistakes.parquet and of uncertain.parquet."""
    attributions: Count = 5
    """Rows for which the report shows the effect of each word."""
    show_texts: bool = True
    """Show texts in the report. The Parquet files hold texts in any case."""
    max_rejected: Share = 0.05
    """Maximum share of rows without a text or a known label, 0 to 1. With more, the job stops."""
    seed: Count = 0
    """Seed of the resamples for the intervals, and of the two random halves for calibration."""

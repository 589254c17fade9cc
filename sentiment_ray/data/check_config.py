"""The keys of [prepare] that configure the checks, and of [prepare.limits]. Runs no check."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, create_model, model_validator

from sentiment_ray.config.sections import Names, SectionConfig, Share, StageConfig
from sentiment_ray.data.check_table import CHECKS

LANGUAGE_ROWS = 20_000
"""Rows whose language is detected, chosen by hash."""
_limit_fields: dict[str, Any] = {
    check.limit: (Share | None, Field(default=None, description=check.limit_text))
    for check in CHECKS
    if check.limit_text
}


class Limits(create_model("_LimitOfEachCheck", __base__=SectionConfig, **_limit_fields)):  # type: ignore[misc]
    """Keys of [prepare.limits]: shares of the rows. A limit that is not set refuses nothing.

    Every limit of the table of checks is a key.
    """

    min_label_share: Share | None = None
    """Rows of the rarest label, of all kept rows."""


class CheckConfig(StageConfig):
    """The keys of [prepare] that configure the checks."""

    check: bool = False
    """Run the checks only and write report.html and report.json; ends with 3 when [prepare.limits] are crossed."""
    report_samples: bool = True
    """Show texts of accepted rows in report.html."""
    against: Names = ()
    """External test sets that no row should come from: files, directories or globs."""
    against_text_column: Names = ()
    """Column or columns of `against` that hold the text; by default the text_column of the first source."""
    near_duplicates: bool = True
    """Look for texts that are nearly equal once links, @handles and RT are masked."""
    near_duplicate_threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Jaccard similarity of their word pairs from which two texts are near duplicates."""
    near_duplicate_rows: Annotated[int, Field(ge=1)] = 200_000
    """Most rows to compare; of more rows, a part is chosen by hash."""
    keep_together: bool = False
    """Put all rows of a cluster of near duplicates into one split."""
    model: str | None = None
    """Directory of the base encoder: its tokenizer counts tokens, and its embeddings help to find wrong labels."""
    max_tokens: Annotated[int, Field(ge=3)] = 128
    """Tokens beyond which `model` cuts a text off."""
    suspect_rows: Annotated[int, Field(ge=1)] = 5000
    """Rows to search for wrong labels, chosen by hash."""
    language: str | None = None
    """Language that the reviews should have, such as en; languages are only checked when this is set."""
    limits: Limits = Limits()
    """Shares of the rows above which --check fails, in a section [prepare.limits]."""

    @model_validator(mode="after")
    def _checks_with_limits_run(self) -> "CheckConfig":
        for check in CHECKS:
            if check.needs and getattr(self.limits, check.limit) is not None and not getattr(self, check.needs):
                raise ValueError(
                    f"limits.{check.limit} is set, but its check does not run without {check.needs}. "
                    f"Set {check.needs} as well."
                )
        if self.keep_together and not self.near_duplicates:
            raise ValueError("keep_together needs near_duplicates. Remove near_duplicates = false.")
        return self


@dataclass(frozen=True)
class SampledShares:
    """The shares of the rows that the two slow checks examine; 0 for a check that does not run."""

    label_issues: float = 0.0
    language: float = 0.0


def choose_sampled_shares(config: CheckConfig, num_rows: int) -> SampledShares:
    """Return the shares with which each slow check examines about `suspect_rows` or LANGUAGE_ROWS rows."""
    rows = max(1, num_rows)
    return SampledShares(
        label_issues=min(1.0, config.suspect_rows / rows) if config.model else 0.0,
        language=min(1.0, LANGUAGE_ROWS / rows) if config.language else 0.0,
    )

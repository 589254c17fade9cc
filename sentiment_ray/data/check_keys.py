"""The keys of [prepare] that say what is looked at, and what is refused; looks at nothing."""

from typing import Annotated

from pydantic import Field, model_validator

from sentiment_ray.config.sections import Names, StageConfig
from sentiment_ray.data.limits import Limits


class Checking(StageConfig):
    """The keys of [prepare] that are about checks."""

    check: bool = False
    """Run the checks only: write report.html and report.json; 3 is the exit code when [prepare.limits] are crossed."""
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
    """Rows that are compared at most; of more, a part that is chosen by hash."""
    keep_together: bool = False
    """Put all rows of a cluster of near duplicates into one split."""
    model: str | None = None
    """Directory of the base encoder: counts its tokens and looks for wrong labels with it."""
    max_tokens: Annotated[int, Field(ge=3)] = 128
    """Tokens beyond which `model` cuts a text."""
    suspect_rows: Annotated[int, Field(ge=1)] = 5000
    """Rows among which wrong labels are looked for, chosen by hash."""
    language: str | None = None
    """Language that the reviews should have, such as en; not looked at unless set."""
    limits: Limits = Limits()
    """What --check refuses: shares, in a section [prepare.limits]."""

    @model_validator(mode="after")
    def _checks_can_be_run(self) -> "Checking":
        for limit, key in self.limits.needing().items():
            if not getattr(self, key):
                raise ValueError(f"limits.{limit} is set, but its check is not run without {key}. Set {key} as well.")
        if self.keep_together and not self.near_duplicates:
            raise ValueError("keep_together needs near_duplicates. Leave near_duplicates = false out.")
        return self

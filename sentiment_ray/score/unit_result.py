"""What is known of the rows of a unit after they were scored; knows no files."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from sentiment_ray.inference.drift import add_profiles
from sentiment_ray.score.aggregation import merge_group_sums
from sentiment_ray.score.plan import Unit

MERGE_GROUP_ROWS = 65_536
"""Rows of sums by group that may wait until they are merged."""


@dataclass
class UnitResult:
    """The rows of a unit after scoring: how many were scored, which are quarantined, and sums over the scored ones.

    Sums are kept, not what they are made of, so that the memory does not grow with the rows of a unit.
    """

    num_scored: int = 0
    num_quarantined: int = 0
    num_duplicates: int = 0
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    profile: dict[str, Any] = field(default_factory=lambda: add_profiles([]))
    group_sums: list[pa.Table] = field(default_factory=list)
    """The sums of all chunks so far, merged, and those of the last chunks."""

    def quarantine(self, unit: Unit, row: int, rows: int, reason: str) -> None:
        """Quarantine `rows` neighbouring rows, of which the first is `row`."""
        self.quarantined.append({"path": unit.path, "row": row, "rows": rows, "reason": reason})
        self.num_quarantined += rows

    def add_profile(self, profile: dict[str, Any]) -> None:
        """Add the histograms of some scored texts."""
        self.profile = add_profiles([self.profile, profile])

    def add_group_sums(self, sums: pa.Table) -> None:
        """Add the sums by group of some scored rows."""
        self.group_sums.append(sums)
        if sum(map(len, self.group_sums[1:])) >= max(MERGE_GROUP_ROWS, len(self.group_sums[0])):
            self.group_sums = [merge_group_sums(self.group_sums)]

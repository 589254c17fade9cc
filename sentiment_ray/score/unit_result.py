"""What is known of the rows of a unit after they were scored; knows no files."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from sentiment_ray.score.plan import Unit


@dataclass
class UnitResult:
    """The rows of a unit after scoring: how many were scored, which are quarantined, and sums over the scored ones."""

    num_scored: int = 0
    num_duplicates: int = 0
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    profiles: list[dict[str, Any]] = field(default_factory=list)
    group_sums: list[pa.Table] = field(default_factory=list)

    def quarantine(self, unit: Unit, row: int, rows: int, reason: str) -> None:
        """Quarantine `rows` neighbouring rows, of which the first is `row`."""
        self.quarantined.append({"path": unit.path, "row": row, "rows": rows, "reason": reason})

"""The keys of [prepare.limits]: how much of what the checks find is too much; knows shares, not how they are found."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from sentiment_ray.config.sections import Share


class Limits(BaseModel):
    """Keys of [prepare.limits]; a limit that is not set is not looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_rejected: Share | None = None
    """Defective rows, of all rows."""
    max_duplicates: Share | None = None
    """Rows that repeat the text of another with the same label, of all good rows."""
    max_conflicting: Share | None = None
    """Rows whose text stands with several labels, of all good rows."""
    max_near_duplicates: Share | None = None
    """Rows beyond the first of their cluster of near duplicates, of the rows that were compared."""
    max_leaked: Share | None = None
    """Rows that stand in `against`, exactly or nearly, of all kept rows."""
    max_cut: Share | None = None
    """Rows with more than `max_tokens` tokens, of all kept rows."""
    max_mojibake: Share | None = None
    """Rows with wrongly decoded or lost letters, of all kept rows."""
    max_other_language: Share | None = None
    """Rows in another language than `language`, of the rows whose language was found."""
    max_suspect_labels: Share | None = None
    """Rows whose label looks wrong, of the rows that were looked at."""
    min_label_share: Share | None = None
    """Rows of the rarest label, of all kept rows."""

    def needing(self) -> dict[str, str]:
        """Return the keys of [prepare] that limits which are set cannot do without, by limit."""
        needs = {
            "max_near_duplicates": "near_duplicates",
            "max_leaked": "against",
            "max_cut": "model",
            "max_other_language": "language",
            "max_suspect_labels": "model",
        }
        return {limit: key for limit, key in needs.items() if getattr(self, limit) is not None}


def crossed_limits(limits: Limits, shares: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return `limit`, `found` and `allowed` of each limit that a share crosses, in the order of the limits.

    `shares` gives the share found for the name of each limit. One that could not be found out is not kept either: its
    `found` is None.
    """
    crossed = []
    for name, allowed in limits.model_dump(exclude_none=True).items():
        found = shares.get(name)
        if found is None or (found < allowed if name.startswith("min_") else found > allowed):
            crossed.append({"limit": name, "found": found, "allowed": allowed})
    return crossed


def spell_crossed(crossed: list[dict[str, Any]]) -> str:
    """Return the crossed limits in one line for a person."""
    return "; ".join(
        f"{each['limit']} = {each['allowed']:g}, "
        + ("its check could not be run" if each["found"] is None else f"found {each['found']:.4g}")
        for each in crossed
    )

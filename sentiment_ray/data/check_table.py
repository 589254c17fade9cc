"""The table of checks: every kind of flaw that prepare looks for. It holds names and words, so it loads no library.

To add a check, add an entry and write the function that the entry names. The limit, the numbers in prepared.json and
the lines on the page follow from the entry.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Check:
    """One kind of flaw, and the function that finds the rows with it.

    A check of texts names a function from texts, an Arrow array, to a mask, bool `(texts,)`. Every other check names a
    function from CheckResults to a Count, or to NotRun when the rows do not allow the check.
    """

    name: str
    """Name in prepared.json and report.json."""
    title: str
    """What the report calls the rows that the check finds."""
    text_function: str = ""
    """`module:function` in `sentiment_ray/data/report/`, for a check of texts."""
    count_function: str = ""
    """`module:function` in `sentiment_ray/data/report/`, for every other check."""
    limit: str = ""
    """Key of [prepare.limits]. Checks that name the same key share the limit: their shares of the rows are added."""
    limit_text: str = ""
    """Which share the limit is for: the description of its key."""
    needs: str = ""
    """Key of [prepare] that must be set for the check to run."""
    section: str = ""
    """Anchor of the section of the page that tells more; a check of texts is shown in the section on texts."""
    is_flaw: bool = True
    """Whether the rows count as a finding. False: usual in reviews, so the rows are only counted."""

    def load_function(self) -> Callable[..., Any]:
        """Import the function that the entry names."""
        return resolve_name(f"sentiment_ray.data.report.{self.text_function or self.count_function}")


CHECKS = (
    Check(
        name="leaked",
        title="Rows that are also in the test set",
        count_function="findings:count_leaked",
        limit="max_leaked",
        limit_text="Rows that are also in `against`, equal or similar, of all kept rows.",
        needs="against",
        section="leaked",
    ),
    Check(
        name="conflicting",
        title="Same text, different labels",
        count_function="findings:count_conflicting",
        limit="max_conflicting",
        limit_text="Rows whose text has several labels, of all valid rows.",
        section="conflicting",
    ),
    Check(
        name="suspect_labels",
        title="Labels that look wrong",
        count_function="findings:count_label_issues",
        limit="max_suspect_labels",
        limit_text="Rows whose label looks wrong, of the rows that were examined.",
        needs="model",
        section="label-issues",
    ),
    Check(
        name="rejected",
        title="Defective rows",
        count_function="findings:count_rejected",
        limit="max_rejected",
        limit_text="Defective rows, of all rows.",
        section="rejected",
    ),
    Check(
        name="duplicates",
        title="Exact duplicates",
        count_function="findings:count_duplicates",
        limit="max_duplicates",
        limit_text="Rows that repeat the text of another row with the same label, of all valid rows.",
        section="duplicates",
    ),
    Check(
        name="near_duplicates",
        title="Near duplicates",
        count_function="findings:count_near_duplicates",
        limit="max_near_duplicates",
        limit_text="Texts beyond the first of their cluster of near duplicates, of the texts that were compared.",
        needs="near_duplicates",
        section="near-duplicates",
    ),
    Check(
        name="cut",
        title="Texts that the model cuts off",
        count_function="findings:count_cut",
        limit="max_cut",
        limit_text="Rows with more than `max_tokens` tokens, of all kept rows.",
        needs="model",
        section="lengths",
    ),
    Check(
        name="language",
        title="Texts in another language",
        count_function="findings:count_other_languages",
        limit="max_other_language",
        limit_text="Rows in another language than `language`, of the rows whose language is clear.",
        needs="language",
        section="languages",
    ),
    Check(
        name="mojibake",
        title="Wrongly decoded letters (mojibake)",
        text_function="text_flags:has_mojibake",
        limit="max_mojibake",
        limit_text="Rows with wrongly decoded letters, or with letters lost to U+FFFD, of all kept rows.",
    ),
    Check(
        name="lost_letters",
        title="Letters lost to U+FFFD",
        text_function="text_flags:has_lost_letters",
        limit="max_mojibake",
    ),
    Check(name="html", title="HTML tags or entities", text_function="text_flags:has_html"),
    Check(name="no_letter", title="No letter at all", text_function="text_flags:has_no_letter"),
    Check(name="url", title="Links", text_function="text_flags:has_url", is_flaw=False),
    Check(name="handle", title="@handles", text_function="text_flags:has_handle", is_flaw=False),
    Check(name="white_space", title="Extra white space", text_function="text_flags:has_extra_space", is_flaw=False),
)
TEXT_CHECKS = tuple(check for check in CHECKS if check.text_function)

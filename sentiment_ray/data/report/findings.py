"""Turns the counts of all buckets into findings, and compares them with the limits. Reads no rows.

A finding is one line of the report: how many rows a check found, of how many. Every `count_x` is the function of one
entry in the table of checks.
"""

from dataclasses import dataclass
from typing import Any

from sentiment_ray.data.check_config import Limits
from sentiment_ray.data.check_table import CHECKS, TEXT_CHECKS, Check
from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.counts import Counts
from sentiment_ray.data.leakage import Comparison
from sentiment_ray.data.report.bucket_stats import BucketStats
from sentiment_ray.data.report.language import UNCLEAR

LABEL_ISSUES_NAME = "label_issues.jsonl"
"""The file beside the report that lists the rows whose label looks wrong."""


@dataclass(frozen=True)
class CheckResults:
    """What all checks saw. `label_issues` is a part of prepared.json, with example rows and the list of all rows."""

    config: PrepareConfig
    counts: Counts
    stats: BucketStats
    comparison: Comparison | None
    """None when no texts were compared."""
    label_issues: dict[str, Any]

    @property
    def num_kept(self) -> int:
        """Rows that are in a split."""
        return int(self.stats.kept_rows.sum())

    @property
    def num_valid(self) -> int:
        """Rows that are not defective."""
        return self.stats.counts["valid"]


@dataclass(frozen=True)
class Count:
    """The rows that a check found, of the rows that it examined."""

    rows: int
    of: int
    detail: str = ""
    """What the title of the finding says besides."""


@dataclass(frozen=True)
class NotRun:
    """The reason why a check did not run."""

    reason: str


def list_findings(results: CheckResults) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the findings of all checks that ran, in the order of the table, and why each of the others did not."""
    findings, not_run = [], {}
    for check in CHECKS:
        count = run_check(check, results)
        if isinstance(count, NotRun):
            not_run[check.name] = count.reason
        elif check.is_flaw:
            findings.append(
                {
                    "name": check.name,
                    "title": f"{check.title} ({count.detail})" if count.detail else check.title,
                    "rows": count.rows,
                    "of": count.of,
                    "share": count.rows / max(1, count.of),
                    "limit": check.limit,
                }
            )
    return findings, not_run


def run_check(check: Check, results: CheckResults) -> Count | NotRun:
    """Return what one check found."""
    if check.needs and not getattr(results.config, check.needs):
        is_off = getattr(results.config, check.needs) is False
        return NotRun(f"{check.needs} = false" if is_off else f"{check.needs} is not set")
    if check.text_function:
        return Count(int(results.stats.flagged_rows[:, TEXT_CHECKS.index(check)].sum()), results.num_kept)
    count: Count | NotRun = check.load_function()(results)
    return count


def find_crossed_limits(limits: Limits, results: CheckResults, findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return `limit`, `found` and `allowed` of each limit that is crossed.

    A limit whose check could not run counts as crossed, with None as `found`.
    """
    shares: dict[str, float] = {}
    for each in findings:
        shares[each["limit"]] = shares.get(each["limit"], 0.0) + each["share"]
    by_label = results.stats.kept_rows.sum(axis=(0, 1))
    if by_label.sum():
        shares["min_label_share"] = float(by_label.min() / by_label.sum())
    crossed = []
    for limit, allowed in limits.model_dump(exclude_none=True).items():
        found = shares.get(limit)
        if found is None or (found < allowed if limit.startswith("min_") else found > allowed):
            crossed.append({"limit": limit, "found": found, "allowed": allowed})
    return crossed


def describe_crossed_limits(crossed: list[dict[str, Any]]) -> str:
    """Return the crossed limits in one line for people."""
    return "; ".join(
        f"{each['limit']} = {each['allowed']:g}, "
        + ("its check could not run" if each["found"] is None else f"found {each['found']:.4g}")
        for each in crossed
    )


def count_leaked(results: CheckResults) -> Count:
    """Count the kept rows that equal or resemble one of the test set."""
    comparison, detail = results.comparison, ""
    if comparison and min(comparison.share, comparison.test_set_share) < 1:
        detail = (
            f"similar rows were looked for among {comparison.share:.0%} of the rows "
            f"and {comparison.test_set_share:.0%} of the test set"
        )
    return Count(int(results.stats.leaked_rows.sum()), results.num_kept, detail)


def count_conflicting(results: CheckResults) -> Count:
    """Count the rows whose text has several labels."""
    return Count(results.stats.counts["conflicting"], results.num_valid)


def count_label_issues(results: CheckResults) -> Count | NotRun:
    """Count the rows whose label is probably wrong."""
    if "not_run" in results.label_issues:
        return NotRun(results.label_issues["not_run"])
    return Count(results.label_issues["rows"], results.label_issues["of"])


def count_rejected(results: CheckResults) -> Count:
    """Count the defective rows."""
    return Count(results.counts.totals["rejected"], results.counts.totals["rows_in"])


def count_duplicates(results: CheckResults) -> Count:
    """Count the rows that repeat the text of another row with the same label."""
    return Count(results.stats.counts["repeated"], results.num_valid)


def count_near_duplicates(results: CheckResults) -> Count | NotRun:
    """Count the texts beyond the first of their cluster of near duplicates."""
    if results.comparison is None:
        return NotRun("there is no valid row")
    return Count(results.comparison.equal_once_masked + results.comparison.similar, results.comparison.num_texts)


def count_cut(results: CheckResults) -> Count:
    """Count the kept rows with more tokens than the model reads."""
    return Count(int(results.stats.cut_rows), results.num_kept, f"longer than {results.config.max_tokens} tokens")


def count_other_languages(results: CheckResults) -> Count:
    """Count the rows in another language than the expected one, of those whose language is clear."""
    languages, expected = results.stats.languages, results.config.language or ""
    num_clear = languages.total() - languages[UNCLEAR]
    return Count(num_clear - languages[expected], num_clear, f"not {expected}")

"""Turns what a survey counted into the numbers of prepared.json and the findings of the page; reads no rows."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.counts import MOST_REASONS, Summary
from sentiment_ray.data.leakage import Related
from sentiment_ray.data.limits import crossed_limits
from sentiment_ray.data.report.bucket_stats import LONGEST, Survey
from sentiment_ray.data.report.language import UNDECIDED
from sentiment_ray.data.report.text_flags import FLAGS, FLAWS, TITLES

NOT_ASKED = {
    "near_duplicates": "near_duplicates = false",
    "leaked": "no test set is named: against",
    "cut": "no base encoder is named: model",
    "language": "no expected language is named: language",
}

LIMITS = {"mojibake": "max_mojibake", "lost_letters": "max_mojibake", "language": "max_other_language"}
"""Limits that are not called as what they limit; of several findings they limit the sum."""


@dataclass(frozen=True)
class Checked:
    """What all checks found."""

    summary: Summary
    survey: Survey
    related: Related | None
    suspects: dict[str, Any]


def numbers_of(config: PrepareConfig, checked: Checked) -> dict[str, Any]:
    """Return the part of prepared.json that is called `checks`: counts, no texts."""
    counts, survey = checked.summary.counts, checked.survey
    findings = _findings(config, checked)
    shares: dict[str, float] = {}
    for each in findings:
        shares[each["limit"]] = shares.get(each["limit"], 0.0) + each["share"]
    labels = survey.kept.sum(axis=(0, 1))
    if labels.sum():
        shares["min_label_share"] = float(labels.min() / labels.sum())
    crossed = crossed_limits(config.limits, shares)
    not_run = {name: reason for name, reason in NOT_ASKED.items() if not any(each["name"] == name for each in findings)}
    if "not_run" in checked.suspects:
        not_run["suspect_labels"] = checked.suspects["not_run"]
    return {
        "rows": {"in": counts["rows_in"], "good": survey.counts["good"], "kept": int(survey.kept.sum())},
        "crossed": crossed,
        "findings": _in_order(findings, crossed),
        "not_run": not_run,
        "rejected": _rejected(checked.summary),
        "duplicates": {
            "rows": survey.counts["repeated"],
            "identical": survey.counts["identical"],
            "sources": [source.name for source in config.sources],
            "matrix": survey.matrix.tolist(),
        },
        "conflicting": {"rows": survey.counts["conflicting"], "texts": survey.counts["conflicting_texts"]},
        "near_duplicates": _near(config, checked) if config.near_duplicates else {},
        "leaked": _leaked(survey, checked.related) if config.against else {},
        "balance": _balance(config, survey),
        "words": _lengths(survey.words),
        "tokens": _lengths(survey.tokens) | {"max_tokens": config.max_tokens} if config.model else {},
        "quality": {
            name: dict(zip([source.name for source in config.sources], column, strict=True))
            for name, column in zip(FLAGS, survey.flags.T.tolist(), strict=True)
        },
        "languages": dict(survey.languages.most_common()),
        "suspect_labels": {name: value for name, value in checked.suspects.items() if name != "samples"},
    }


def _findings(config: PrepareConfig, checked: Checked) -> list[dict[str, Any]]:
    """Return a line for each check that was run: name, title, rows, of how many, and the limit that it answers to."""
    counts, survey, related = checked.summary.counts, checked.survey, checked.related
    good, kept, flags = survey.counts["good"], int(survey.kept.sum()), survey.flags.sum(axis=0)
    found = []
    if config.against:
        title = "Rows that stand in the test set"
        if related and min(related.share, related.known_share) < 1:
            title += (
                f"; similar ones among {related.share:.0%} of the rows and {related.known_share:.0%} of the set alone"
            )
        found.append(_finding("leaked", title, int(survey.leaked.sum()), kept))
    found.append(_finding("conflicting", "Same text, different labels", survey.counts["conflicting"], good))
    if "rows" in checked.suspects:
        found.append(
            _finding("suspect_labels", "Labels that look wrong", checked.suspects["rows"], checked.suspects["of"])
        )
    found.append(_finding("rejected", "Defective rows, set aside", counts["rejected"], counts["rows_in"]))
    found.append(_finding("duplicates", "Exact duplicates", survey.counts["repeated"], good))
    if config.near_duplicates and related:
        near = related.equal_once_masked + related.similar
        found.append(_finding("near_duplicates", "Near duplicates", near, related.texts))
    if config.model:
        title = f"Longer than {config.max_tokens} tokens, cut by the model"
        found.append(_finding("cut", title, int(survey.cut), kept))
    if config.language:
        found.append(_other_language(config.language, survey.languages))
    return found + [_finding(name, TITLES[name], int(flags[FLAGS.index(name)]), kept) for name in FLAWS]


def _finding(name: str, title: str, rows: int, of: int) -> dict[str, Any]:
    limit = LIMITS.get(name, f"max_{name}" if name not in TITLES else "")
    return {"name": name, "title": title, "rows": rows, "of": of, "share": rows / max(1, of), "limit": limit}


def _other_language(expected: str, found: Counter[str]) -> dict[str, Any]:
    decided = found.total() - found[UNDECIDED]
    return _finding("language", f"In another language than {expected!r}", decided - found[expected], decided)


def _in_order(findings: list[dict[str, Any]], crossed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the findings, first those that cross a limit, then those with rows, in the order they were made."""
    names = {each["limit"]: each["allowed"] for each in crossed}
    lines = [each | {"allowed": names.get(each["limit"])} for each in findings]
    return sorted(lines, key=lambda line: (line["allowed"] is None, not line["rows"]))


def _near(config: PrepareConfig, checked: Checked) -> dict[str, Any]:
    related, clusters = checked.related or Related(), {cluster for cluster, _ in checked.survey.clusters}
    several = Counter(cluster for cluster, _ in checked.survey.clusters)
    by_split = Counter[int]()
    for (_, split), rows in checked.survey.clusters.items():
        by_split[split] += rows
    return {
        "texts": related.texts,
        "share_compared": related.share,
        "threshold": config.near_duplicate_threshold,
        "equal_once_masked": related.equal_once_masked,
        "similar": related.similar,
        "clusters": related.clusters,
        "largest": related.largest,
        "rows_by_split": {name: by_split[place] for place, name in enumerate(SPLITS)},
        "clusters_in_several_splits": sum(several[cluster] > 1 for cluster in clusters),
        "kept_together": config.keep_together,
    }


def _leaked(survey: Survey, related: Related | None) -> dict[str, Any]:
    related = related or Related()
    by_split = {
        name: {"equal": equal, "similar": similar}
        for name, (equal, similar) in zip(SPLITS, survey.leaked.tolist(), strict=True)
    }
    return {
        "by_split": by_split,
        "test_set_texts": related.known,
        "share_compared": related.share,
        "share_of_test_set_compared": related.known_share,
    }


def _balance(config: PrepareConfig, survey: Survey) -> dict[str, Any]:
    return {
        source.name: {
            split: dict(zip(config.labels, counts, strict=True)) for split, counts in zip(SPLITS, rows, strict=True)
        }
        for source, rows in zip(config.sources, survey.kept.tolist(), strict=True)
    }


def _lengths(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Return quantiles of lengths whose histogram is given, and their shares by powers of two."""
    total = int(counts.sum())
    if not total:
        return {}
    until = np.cumsum(counts)
    quantiles = {name: int(np.searchsorted(until, share * total)) for name, share in
                 (("median", 0.5), ("p90", 0.9), ("p99", 0.99))}  # fmt: skip
    ends = [1 << power for power in range(LONGEST.bit_length())]
    bins = np.diff(until[ends], prepend=0)
    return quantiles | {
        "longest": int(counts.nonzero()[0].max()),
        "bins": dict(zip(map(str, ends), bins.tolist(), strict=True)),
    }


def _rejected(summary: Summary) -> dict[str, Any]:
    """Return the most frequent reasons with the place of the first row of each; the rows' texts are in no report."""
    named = sorted(summary.reasons.items(), key=lambda item: (-item[1], item[0]))[:MOST_REASONS]
    return {reason: {"rows": rows, "first": summary.examples.get(reason, "")} for reason, rows in named}

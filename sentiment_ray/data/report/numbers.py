"""Builds `checks` of prepared.json and report.json: every number of the page, no texts."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.data.check_table import TEXT_CHECKS
from sentiment_ray.data.config import SPLITS
from sentiment_ray.data.counts import MAX_REASONS, Counts
from sentiment_ray.data.leakage import Comparison
from sentiment_ray.data.report.bucket_stats import MAX_LENGTH
from sentiment_ray.data.report.findings import LABEL_ISSUES_NAME, CheckResults, find_crossed_limits, list_findings


def describe_checks(results: CheckResults) -> dict[str, Any]:
    """Return `checks`: the findings, the crossed limits, the checks that did not run, and the details of each check."""
    config, stats = results.config, results.stats
    findings, not_run = list_findings(results)
    crossed = find_crossed_limits(config.limits, results, findings)
    sources = [source.name for source in config.sources]
    return {
        "rows": {"in": results.counts.totals["rows_in"], "good": results.num_valid, "kept": results.num_kept},
        "crossed": crossed,
        "findings": _sort_findings(findings, crossed),
        "not_run": not_run,
        "rejected": _describe_rejected(results.counts),
        "duplicates": {
            "rows": stats.counts["repeated"],
            "identical": stats.counts["identical"],
            "sources": sources,
            "matrix": stats.source_pairs.tolist(),
        },
        "conflicting": {"rows": stats.counts["conflicting"], "texts": stats.counts["conflicting_texts"]},
        "near_duplicates": _describe_near_duplicates(results) if config.near_duplicates else {},
        "leaked": _describe_leaked(results) if config.against else {},
        "balance": _describe_balance(results),
        "words": _describe_lengths(stats.num_words),
        "tokens": _describe_lengths(stats.num_tokens) | {"max_tokens": config.max_tokens} if config.model else {},
        "quality": {
            check.name: dict(zip(sources, rows, strict=True))
            for check, rows in zip(TEXT_CHECKS, stats.flagged_rows.T.tolist(), strict=True)
        },
        "languages": dict(stats.languages.most_common()),
        "suspect_labels": _describe_label_issues(results.label_issues),
    }


def _sort_findings(findings: list[dict[str, Any]], crossed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the findings with the limit that they cross: first those that cross one, then the others with rows."""
    allowed = {each["limit"]: each["allowed"] for each in crossed}
    lines = [each | {"allowed": allowed.get(each["limit"])} for each in findings]
    return sorted(lines, key=lambda line: (line["allowed"] is None, not line["rows"]))


def _describe_label_issues(issues: dict[str, Any]) -> dict[str, Any]:
    """Return the counts, and the name of the file that has the rows."""
    counts = {name: value for name, value in issues.items() if name not in ("examples", "ranked")}
    return counts | {"file": LABEL_ISSUES_NAME} if issues.get("ranked") else counts


def _describe_rejected(counts: Counts) -> dict[str, Any]:
    """Return the most frequent reasons, each with its rows and where the first of them is. Their texts are nowhere."""
    frequent = sorted(counts.reasons.items(), key=lambda item: (-item[1], item[0]))[:MAX_REASONS]
    return {reason: {"rows": rows, "first": counts.examples.get(reason, "")} for reason, rows in frequent}


def _describe_near_duplicates(results: CheckResults) -> dict[str, Any]:
    comparison, clusters = results.comparison or Comparison(), results.stats.clusters
    splits_of_cluster = Counter(cluster for cluster, _ in clusters)
    rows_by_split = Counter[int]()
    for (_, split), rows in clusters.items():
        rows_by_split[split] += rows
    return {
        "texts": comparison.num_texts,
        "share_compared": comparison.share,
        "threshold": results.config.near_duplicate_threshold,
        "equal_once_masked": comparison.equal_once_masked,
        "similar": comparison.similar,
        "clusters": comparison.num_clusters,
        "largest": comparison.largest_cluster,
        "rows_by_split": {name: rows_by_split[split] for split, name in enumerate(SPLITS)},
        "clusters_in_several_splits": sum(splits > 1 for splits in splits_of_cluster.values()),
        "kept_together": results.config.keep_together,
    }


def _describe_leaked(results: CheckResults) -> dict[str, Any]:
    comparison = results.comparison or Comparison()
    return {
        "by_split": {
            split: {"equal": equal, "similar": similar}
            for split, (equal, similar) in zip(SPLITS, results.stats.leaked_rows.tolist(), strict=True)
        },
        "test_set_texts": comparison.num_test_set_texts,
        "share_compared": comparison.share,
        "share_of_test_set_compared": comparison.test_set_share,
    }


def _describe_balance(results: CheckResults) -> dict[str, Any]:
    """Return the kept rows by source, split and label."""
    config = results.config
    return {
        source.name: {
            split: dict(zip(config.labels, by_label, strict=True))
            for split, by_label in zip(SPLITS, by_split, strict=True)
        }
        for source, by_split in zip(config.sources, results.stats.kept_rows.tolist(), strict=True)
    }


def _describe_lengths(histogram: NDArray[np.int64]) -> dict[str, Any]:
    """Return quantiles of lengths, and the rows by powers of two: `bins` by their largest length."""
    total = int(histogram.sum())
    if not total:
        return {}
    cumulated = np.cumsum(histogram)
    quantiles = {
        name: int(np.searchsorted(cumulated, share * total))
        for name, share in (("median", 0.5), ("p90", 0.9), ("p99", 0.99))
    }
    ends = [1 << power for power in range(MAX_LENGTH.bit_length())]
    rows = np.diff(cumulated[ends], prepend=0)
    return quantiles | {
        "longest": int(histogram.nonzero()[0].max()),
        "bins": dict(zip(map(str, ends), rows.tolist(), strict=True)),
    }

"""Adds up the reports of all tasks, and refuses data that cannot be trained on; reads no rows."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray import log
from sentiment_ray.data.balance import EXTRAS
from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.label_advice import advise_on_labels
from sentiment_ray.data.shuffle import OTHER_REASONS, CollectReport
from sentiment_ray.data.split import OUTCOMES, list_requested_splits
from sentiment_ray.data.split_tasks import SplitReport
from sentiment_ray.data.validate import limit_labels
from sentiment_ray.errors import DataError
from sentiment_ray.rejected_rows import warn_about_rejected_rows

COLUMNS = ("rows_in", *OUTCOMES, "rejected", "left_out", *EXTRAS)
FEWEST_EXPECTED_ROWS = 10
"""Rows that a split's share must come to before it is an error that the split has none."""
MAX_REASONS = 50
MAX_REASONS_IN_ERROR = 3
LABEL_REASON = re.compile("label .*is not (in|a finite number)")
REMEDIES = (
    ("^invalid ", "Name the encoding with --encoding, such as --encoding cp1252, or convert the files to UTF-8."),
    (
        "cells where the header has|^not [CT]SV",
        "Correct the separators and the quotes in the file, or name them with --separator, --quote and --escape.",
    ),
    (
        "text is not a string",
        "Name the column of the reviews with --text-column. Of an object or a list, write the text as a string, for "
        "example: jq -c '.text = .text.body' FILE > NEW.jsonl.",
    ),
    ("(null|empty) text", "Name the column of the reviews with --text-column."),
    (
        "label is neither",
        "Name the column of the labels with --label-column. Of an object or a list, write the label as a string, for "
        "example: jq -c '.label = .label[0]' FILE > NEW.jsonl.",
    ),
    ("null label", "Name the column of the labels with --label-column."),
    ("(null|neither) (group|time)|^(group|time) is", "Name another group_column or time_column."),
    ("^chat|^content of", "An example has one user message and, last, one assistant message, both of text."),
    ("longer than", "Shorten the texts."),
    ("not a JSON object", "Write one JSON object on each line."),
)
"""A pattern of reasons, and what a person can do about them."""


@dataclass(frozen=True)
class Counts:
    """What became of all rows."""

    by_source: NDArray[np.int64]
    """`(sources, COLUMNS)`"""
    by_split: NDArray[np.int64]
    """`(splits, labels)`"""
    reasons: Counter[str]
    """Rejected rows by reason."""
    examples: dict[str, str]
    """The file and the row where each reason came first."""
    cleaned: dict[str, int]
    """The number of rows that each cleaning step changed."""
    raw_labels: dict[int, Counter[str]]
    """The rows of each raw label, by the index of the source."""

    @property
    def totals(self) -> dict[str, int]:
        """The sum of each of COLUMNS over all sources."""
        return dict(zip(COLUMNS, self.by_source.sum(axis=0).tolist(), strict=True))


def add_reports(config: PrepareConfig, collected: Sequence[CollectReport], split: Sequence[SplitReport]) -> Counts:
    """Add up the reports of all tasks, in any order."""
    outcomes = np.zeros((len(config.sources), len(OUTCOMES)), dtype=np.int64)
    extras = np.zeros((len(config.sources), len(EXTRAS)), dtype=np.int64)
    by_split = np.zeros((len(SPLITS), len(config.labels)), dtype=np.int64)
    for split_report in split:
        outcomes += split_report.outcomes
        extras += split_report.extras
        by_split += split_report.labels
    reasons: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for report in sorted(collected, key=lambda report: report.task_number):
        reasons += report.reasons
        examples = report.examples | examples
    rows_in, rejected, left_out = (
        sum((getattr(report, name) for report in collected), np.zeros(len(config.sources), dtype=np.int64))[:, None]
        for name in ("rows_in", "rejected", "left_out")
    )
    cleaned = sum((report.cleaned for report in collected), np.zeros(len(config.clean), dtype=np.int64))
    by_source = np.hstack([rows_in, outcomes, rejected, left_out, extras])
    named_steps = dict(zip(config.clean, cleaned.tolist(), strict=True))
    return Counts(by_source, by_split, reasons, examples, named_steps, _add_raw_labels(collected))


def check_rejected(config: PrepareConfig, counts: Counts) -> None:
    """DataError if there are no rows, or more defective rows than `max_rejected` allows."""
    rows_in, rejected = counts.totals["rows_in"], counts.totals["rejected"]
    paths = ", ".join(source.path for source in config.sources)
    if not rows_in and counts.totals["left_out"]:
        raise DataError(
            f"All {counts.totals['left_out']} rows of {paths} are left out. Correct leave_out, stars or the share of "
            "the source."
        )
    if not rows_in:
        raise DataError(f"The sources ({paths}) hold no rows.")
    if rejected / rows_in > config.max_rejected:
        frequent = _sort_reasons(counts.reasons)[:MAX_REASONS_IN_ERROR]
        found = "; ".join(f"{reason}: {count}, first in {counts.examples[reason]}" for reason, count in frequent)
        raise DataError(
            f"{rejected} of {rows_in} rows are defective, more than max_rejected = {config.max_rejected:g} allows "
            f"({found}). {_find_remedy(config, counts, frequent[0][0])} To go on without these rows, raise "
            "--max-rejected."
        )


def warn_about_rejected(counts: dict[str, int], rejected: dict[str, dict[str, Any]], place: str) -> None:
    """Warn about rows in `rejected/`, or about those that the report counts.

    `counts` and `rejected` are parts of prepared.json or report.json: the rows by outcome, and the reasons.
    """
    first = next((each["first"] for each in rejected.values()), "")
    reasons = {reason: each["rows"] for reason, each in rejected.items()}
    where = f"See {place}."
    warn_about_rejected_rows(counts["rejected"], counts["rows_in"], reasons, first=first, where=where)


def tell_about_left_out(config: PrepareConfig, counts: dict[str, int]) -> None:
    """Write one line to stderr that counts the rows that `leave_out` names, if there are any."""
    values = list(dict.fromkeys(value for source in config.sources for value in source.leave_out))
    if values and counts["left_out"]:
        reason = (
            " or are not in the share of their source" if any(source.share < 1 for source in config.sources) else ""
        )
        log.notify(f"Left out {counts['left_out']:,} rows that have the label {' or '.join(values)}{reason}.")


def check_splits(config: PrepareConfig, counts: Counts) -> None:
    """DataError if a requested split is empty, or if a label has no training row."""
    totals = counts.totals
    accounted = sum(totals[name] for name in (*OUTCOMES, "rejected"))
    if accounted != totals["rows_in"] + sum(totals[name] for name in EXTRAS):
        raise RuntimeError(f"{totals['rows_in']} rows were read, but {accounted} are accounted for: {totals}")
    requested = list_requested_splits(config)
    for split in SPLITS:
        if split in requested and not totals[split]:
            _refuse_empty_split(config, split, totals)
    train = dict(zip(config.labels, counts.by_split[SPLITS.index("train")].tolist(), strict=True))
    for label, count in train.items():
        if not count:
            present = [name for name, rows in train.items() if rows]
            held_out = int(counts.by_split[:, config.labels.index(label)].sum())
            if held_out:
                raise DataError(
                    f"The label {label!r} has no row to train on: all of its rows, {held_out}, are in other splits. "
                    "Add rows with this label, or pass --split-by stratified, which takes a share of every label."
                )
            raise DataError(
                f"The label {label!r} has no row to train on (found: {_format_counts(train)}). Add rows with this "
                f"label, or leave it out: --labels {','.join(present)}. A training that continues a run, with "
                "--start-from, keeps the labels of that run."
            )


def _refuse_empty_split(config: PrepareConfig, split: str, totals: dict[str, int]) -> None:
    """DataError for a requested split without rows; only a warning where few rows were to be expected in it."""
    shares = {"validation": config.validation_share, "test": config.test_share}
    is_by_share = split in shares and config.split_by != "time"
    is_by_share &= split not in {source.split for source in config.sources}
    num_kept = sum(totals[name] for name in SPLITS)
    if not is_by_share or shares[split] * num_kept >= FEWEST_EXPECTED_ROWS:
        raise DataError(f"The {split} split would be empty ({_format_counts(totals)}). Add rows, or change its share.")
    log.notify(
        f"the {split} split is empty: {num_kept} rows are few for a share of {shares[split]:g}. Training and export go "
        "on, and say what they could not measure.",
        level=logging.WARNING,
    )


def describe_counts(config: PrepareConfig, counts: Counts) -> dict[str, Any]:
    """Return the part of prepared.json that is counted."""
    by_split = {
        split: dict(zip(config.labels, row, strict=True))
        for split, row in zip(SPLITS, counts.by_split.tolist(), strict=True)
    }
    by_source = {
        source.name: dict(zip(COLUMNS, row, strict=True))
        for source, row in zip(config.sources, counts.by_source.tolist(), strict=True)
    }
    return {
        "labels": list(config.labels),
        "counts": counts.totals,
        "by_split": by_split,
        "by_label": dict(zip(config.labels, counts.by_split.sum(axis=0).tolist(), strict=True)),
        "by_source": by_source,
        "rejected_reasons": _limit_reasons(counts.reasons),
        "steps": list(config.clean),
        "cleaned": counts.cleaned,
    }


def _find_remedy(config: PrepareConfig, counts: Counts, reason: str) -> str:
    """Return the sentence that tells how to mend rows with a reason."""
    if LABEL_REASON.match(reason):
        rejected = counts.by_source[:, COLUMNS.index("rejected")]
        for source_index in np.argsort(-rejected, kind="stable").tolist():
            source = config.sources[source_index]
            advice = advise_on_labels(list(counts.raw_labels.get(source_index, ())), source, config.labels)
            if advice:
                return advice.to_text(source.label_column)
    return next((remedy for pattern, remedy in REMEDIES if re.search(pattern, reason)), "Repair the rows.")


def _add_raw_labels(collected: Sequence[CollectReport]) -> dict[int, Counter[str]]:
    total: dict[int, Counter[str]] = {}
    for report in collected:
        for source, labels in report.raw_labels.items():
            total[source] = total.get(source, Counter()) + labels
    return {source: limit_labels(labels) for source, labels in total.items()}


def _limit_reasons(reasons: Counter[str]) -> dict[str, int]:
    """Return the most frequent reasons, sorted by frequency, and the sum of all others."""
    named = [(reason, count) for reason, count in _sort_reasons(reasons) if reason != OTHER_REASONS]
    num_others = reasons[OTHER_REASONS] + sum(count for _, count in named[MAX_REASONS:])
    return dict(named[:MAX_REASONS]) | ({OTHER_REASONS: num_others} if num_others else {})


def _sort_reasons(reasons: Counter[str]) -> list[tuple[str, int]]:
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))


def _format_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())

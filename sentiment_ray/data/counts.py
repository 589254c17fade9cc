"""Adds up what the tasks of prepare_reviews report, and refuses what cannot be trained on; reads no rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.data.balance import EXTRAS
from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.division import splits_wanted
from sentiment_ray.data.shuffle import OTHER_REASONS, Collected, Divided
from sentiment_ray.data.split import OUTCOMES
from sentiment_ray.errors import DataError

COLUMNS = ("rows_in", *OUTCOMES, "rejected", "left_out", *EXTRAS)
MOST_REASONS = 50
REASONS_IN_ERROR = 3


@dataclass(frozen=True)
class Summary:
    """What became of all rows: `by_source` `(sources, COLUMNS)`, `by_split` `(splits, labels)`."""

    by_source: NDArray[np.int64]
    by_split: NDArray[np.int64]
    reasons: Counter[str]
    examples: dict[str, str]
    """Where the first row with each reason stands."""
    cleaned: dict[str, int]
    """Rows that each step of cleaning changed."""

    @property
    def counts(self) -> dict[str, int]:
        """The sum of each of COLUMNS over all sources."""
        return dict(zip(COLUMNS, self.by_source.sum(axis=0).tolist(), strict=True))


def summarise(config: PrepareConfig, collected: Sequence[Collected], divided: Sequence[Divided]) -> Summary:
    """Add up the reports of all tasks, in whatever order they ended."""
    outcomes = np.zeros((len(config.sources), len(OUTCOMES)), dtype=np.int64)
    extras = np.zeros((len(config.sources), len(EXTRAS)), dtype=np.int64)
    by_split = np.zeros((len(SPLITS), len(config.labels)), dtype=np.int64)
    for report in divided:
        outcomes += report.outcomes
        extras += report.extras
        by_split += report.labels
    reasons: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for part in sorted(collected, key=lambda part: part.number):
        reasons += part.reasons
        examples = part.examples | examples
    rows_in, rejected, left_out = (
        sum((getattr(part, name) for part in collected), np.zeros(len(config.sources), dtype=np.int64))[:, None]
        for name in ("rows_in", "rejected", "left_out")
    )
    cleaned = sum((part.cleaned for part in collected), np.zeros(len(config.clean), dtype=np.int64))
    by_step = dict(zip(config.clean, cleaned.tolist(), strict=True))
    by_source = np.hstack([rows_in, outcomes, rejected, left_out, extras])
    return Summary(by_source, by_split, reasons, examples, by_step)


def check_rejected(config: PrepareConfig, summary: Summary) -> None:
    """DataError when there are no rows, or a larger share of defective ones than `max_rejected` allows."""
    rows_in, rejected = summary.counts["rows_in"], summary.counts["rejected"]
    if not rows_in:
        raise DataError(f"The sources ({', '.join(source.path for source in config.sources)}) hold no rows.")
    if rejected / rows_in > config.max_rejected:
        frequent = sorted(summary.reasons.items(), key=_most_frequent_first)[:REASONS_IN_ERROR]
        found = "; ".join(f"{reason}: {count}, first in {summary.examples[reason]}" for reason, count in frequent)
        raise DataError(
            f"{rejected} of {rows_in} rows are defective, more than max_rejected = {config.max_rejected:g} allows "
            f"({found}). Mend them, correct the columns or the label_map, or raise --max-rejected."
        )


def check_splits(config: PrepareConfig, summary: Summary) -> None:
    """DataError when a split that was asked for is empty, or a label has no row to train on."""
    counts = summary.counts
    accounted = sum(counts[name] for name in (*OUTCOMES, "rejected"))
    if accounted != counts["rows_in"] + sum(counts[name] for name in EXTRAS):
        raise RuntimeError(f"{counts['rows_in']} rows were read, but {accounted} are accounted for: {counts}")
    pinned = {source.split for source in config.sources}
    shares = {"train": 1.0, "validation": config.validation_share, "test": config.test_share}
    wanted = splits_wanted(config, shares)
    for split in SPLITS:
        if (split in wanted or split in pinned) and not counts[split]:
            raise DataError(f"The {split} split would be empty ({_spelt(counts)}). Give more rows, or another share.")
    train = dict(zip(config.labels, summary.by_split[SPLITS.index("train")].tolist(), strict=True))
    for label, count in train.items():
        if not count:
            found = [name for name, rows in train.items() if rows]
            raise DataError(
                f"The label {label!r} has no row to train on (found: {_spelt(train)}). Add rows with it, or leave "
                f"it out: --labels {','.join(found)}."
            )


def manifest_of(config: PrepareConfig, summary: Summary) -> dict[str, Any]:
    """Return the part of prepared.json that is counted."""
    by_split = {
        split: dict(zip(config.labels, row, strict=True))
        for split, row in zip(SPLITS, summary.by_split.tolist(), strict=True)
    }
    by_source = {
        source.name: dict(zip(COLUMNS, row, strict=True))
        for source, row in zip(config.sources, summary.by_source.tolist(), strict=True)
    }
    return {
        "labels": list(config.labels),
        "counts": summary.counts,
        "by_split": by_split,
        "by_label": dict(zip(config.labels, summary.by_split.sum(axis=0).tolist(), strict=True)),
        "by_source": by_source,
        "rejected_reasons": _capped(summary.reasons),
        "steps": list(config.clean),
        "cleaned": summary.cleaned,
    }


def _capped(reasons: Counter[str]) -> dict[str, int]:
    """Return the most frequent reasons, first the most frequent; the rest as one sum."""
    named = sorted(
        ((reason, count) for reason, count in reasons.items() if reason != OTHER_REASONS), key=_most_frequent_first
    )
    rest = reasons[OTHER_REASONS] + sum(count for _, count in named[MOST_REASONS:])
    return dict(named[:MOST_REASONS]) | ({OTHER_REASONS: rest} if rest else {})


def _most_frequent_first(item: tuple[str, int]) -> tuple[int, str]:
    reason, count = item
    return -count, reason


def _spelt(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())

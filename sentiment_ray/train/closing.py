"""Says in plain sentences how a training went; stderr shows them at its end. Knows run.json alone.

Each function takes the content of run.json, perhaps of an earlier release, and returns one sentence, or None where
there is nothing to say. A new sentence is one function and one entry in WARNINGS or FACTS.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sentiment_ray import log
from sentiment_ray.text.truncation import describe_part_read, read_truncation

Run = Mapping[str, Any]
Describe = Callable[[Mapping[str, Any]], str | None]

MAX_SENTENCES = 10
FEW_STEPS = 50
"""With fewer steps the head of a model has hardly moved from its random start."""
FEW_MEASURED_ROWS = 50
"""With fewer validation rows a single row changes the accuracy by more than 0.02."""
MANY_TRUNCATED = 0.2
"""Share of truncated rows from which another truncation is worth a try."""
LOST_F1 = 0.02
"""Loss of macro-F1 on the earlier reviews from which it is a warning."""
SPLIT_NAMES = {"train": "training", "validation": "validation", "test": "test"}


def show_closing(run: Run) -> None:
    """Show the sentences about a finished training on stderr, facts first."""
    show_sentences(run, FACTS, WARNINGS)


def show_sentences(content: Mapping[str, Any], facts: Sequence[Describe], warnings: Sequence[Describe]) -> None:
    """Show on stderr what some functions say about the content of a manifest, facts first.

    Of more than MAX_SENTENCES, the last facts are left out.
    """
    told, warned = (list(filter(None, (describe(content) for describe in some))) for some in (facts, warnings))
    for sentence in told[: max(0, MAX_SENTENCES - len(warned))]:
        log.notify(sentence)
    for sentence in warned:
        log.notify(sentence, level=logging.WARNING)


def show_truncation(run: Run) -> None:
    """Show on stderr which rows will not be read whole; `run` is config.json of a training that begins."""
    sentence = describe_truncation(run)
    if sentence:
        log.notify(sentence)


def describe_result(run: Run) -> str:
    """Say how good the best checkpoint is, beside one label for all rows and the model before its training."""
    best, base = run["best"], run.get("base_model")
    metrics, majority = best["metrics"], _measure_majority(run)
    comparisons = []
    if majority:
        comparisons.append(f"{majority['label']!r} for all of them would give {_format(majority)}")
    if base:
        comparisons.append(f"the model before training gave {_format(base)} on {base['rows']:,} {base['split']} rows")
    ending = f"; {', and '.join(comparisons)}" if comparisons else ""
    rows = f"{metrics['rows']:,} {SPLIT_NAMES[_find_split(run)]} rows"
    return f"The best checkpoint, of epoch {best['epoch']}, has {_format(metrics)} on {rows}{ending}."


def describe_truncation(run: Run) -> str | None:
    """Say which share of the rows of each split is too long to be read whole, and what is read of them."""
    counts = run.get("truncated", {})
    if not any(each["truncated_rows"] for each in counts.values()):
        return None
    shares = {split: each["truncated_rows"] / each["sampled_rows"] for split, each in counts.items()}
    config = run["config"]
    listed = ", ".join(f"{_format_share(share)} of the {SPLIT_NAMES[split]} rows" for split, share in shares.items())
    sampled = max(each["sampled_rows"] for each in counts.values())
    is_sample = any(each["sampled_rows"] < each["rows"] for each in counts.values())
    estimated = f" (estimated from {sampled:,} rows of a split)" if is_sample else ""
    read = describe_part_read(read_truncation(config), config["max_tokens"])
    remedy = ""
    if max(shares.values()) >= MANY_TRUNCATED:
        others = [mode for mode in ("tail", "head_tail", "windows") if mode != config.get("truncation", "head")]
        remedy = f" A larger max_tokens, or truncation = {' or '.join(map(repr, others))}, reads other parts."
    longer = f"Longer than max_tokens = {config['max_tokens']}: {listed}{estimated}."
    return f"{longer} Of those, the model reads {read}.{remedy}"


def describe_earlier_keys(run: Run) -> str | None:
    """Name the keys in which a training differs from the run that it started from."""
    changed = (run.get("earlier") or {}).get("changed_keys", {})
    listed = [f"{key} = {now!r} (earlier {before!r})" for key, (before, now) in changed.items()]
    return f"Keys that differ from those of the earlier run: {', '.join(listed)}." if listed else None


def describe_new_reviews(run: Run) -> str | None:
    """Say what a training that started from a run gained on the new reviews."""
    change = _measure_change(run, "new")
    return f"On the new reviews macro-F1 went from {change[0]:.3f} to {change[1]:.3f}." if change else None


def describe_old_reviews(run: Run) -> str | None:
    """Say how a training that started from a run still does on the reviews of that run, where it lost little."""
    change = _measure_change(run, "old")
    if not change or change[0] - change[1] > LOST_F1:
        return None
    return f"On the old reviews, those of the earlier run, macro-F1 went from {change[0]:.3f} to {change[1]:.3f}."


def warn_of_lost_reviews(run: Run) -> str | None:
    """Warn of a model that forgot some of what the earlier run had learned."""
    change = _measure_change(run, "old")
    if not change or change[0] - change[1] <= LOST_F1:
        return None
    return (
        f"On the old reviews, those of the earlier run, macro-F1 was lost: it fell from {change[0]:.3f} to "
        f"{change[1]:.3f}. With replay the model also trains on old rows and forgets less."
    )


def warn_of_few_steps(run: Run, where: str = "") -> str | None:
    """Warn of a training of so few steps that little can be learned; `where` says in which of several trainings."""
    steps = [epoch.get("steps") for epoch in run["history"]]
    if not steps or None in steps or sum(steps) >= FEW_STEPS:
        return None
    return (
        f"Only {sum(steps):,} steps were taken{where}, fewer than {FEW_STEPS}. Set tokens_per_batch = 'auto', or a "
        "smaller number, or more epochs."
    )


def warn_of_unused_labels(run: Run, subject: str = "The best checkpoint") -> str | None:
    """Warn of a model that gives one label to all rows, or that never gives a label that rows have."""
    answers, rows_by_label = _find_best_epoch(run).get("predicted_rows"), _find_rows_by_label(run, _find_split(run))
    if not answers or not rows_by_label:
        return None
    labels, split = run["labels"], SPLIT_NAMES[_find_split(run)]
    given = [label for label, count in zip(labels, answers, strict=True) if count]
    if len(given) == 1 < len(labels):
        return f"{subject} gives one label alone, {given[0]!r}, to all {sum(answers):,} {split} rows."
    never = [label for label in labels if label not in given and rows_by_label.get(label)]
    if not never:
        return None
    counts = ", ".join(f"{label!r}, which {rows_by_label[label]:,} {split} rows have" for label in never)
    return f"{subject} never gives the label {counts}."


def warn_of_no_gain(run: Run, subject: str = "The best checkpoint") -> str | None:
    """Warn of a model that is no better than one label for all rows, or than before its training."""
    macro_f1, majority, base = run["best"]["metrics"]["macro_f1"], _measure_majority(run), run.get("base_model")
    rivals = []
    if majority and macro_f1 <= majority["macro_f1"]:
        rivals.append("one label for all rows")
    if base and macro_f1 <= base["macro_f1"]:
        rivals.append("the model before training")
    return f"{subject} has no higher macro-F1 than {' or '.join(rivals)}." if rivals else None


def warn_of_labels_without_rows(run: Run) -> str | None:
    """Warn of labels that no row of a split has, because their F1 counts as 0 in macro-F1."""
    missing = []
    for split in SPLIT_NAMES:
        rows_by_label = _find_rows_by_label(run, split)
        labels = [repr(label) for label, count in rows_by_label.items() if not count]
        if labels and any(rows_by_label.values()):
            missing.append(f"{' and '.join(labels)} in the {SPLIT_NAMES[split]} split")
    return f"Labels without rows: {'; '.join(missing)}. Their F1 counts as 0 in macro-F1." if missing else None


def warn_of_few_measured_rows(run: Run) -> str | None:
    """Warn of figures that were measured on so few rows that they say little about new reviews."""
    split = _find_split(run)
    num_rows = sum(_find_rows_by_label(run, split).values())
    if not 0 < num_rows < FEW_MEASURED_ROWS:
        return None
    return (
        f"{num_rows:,} {SPLIT_NAMES[split]} rows say little about new reviews: each row is {1 / num_rows:.0%} of the "
        "accuracy. Measure the model on more reviews with labels before you rely on it."
    )


def warn_of_known_rows(run: Run) -> str | None:
    """Warn of rows that are measured although the earlier run was trained on their texts."""
    earlier = run.get("earlier") or {}
    known, new = earlier.get("known_new_rows"), earlier.get("new")
    if not known or not new:
        return None
    rows = f"{sum(_find_rows_by_label(run, new['after']['split']).values()):,} {new['after']['split']} rows"
    if not earlier["leaves_out_known"]:
        return f"The earlier run was trained on all texts of the {rows}, so they are no test of it."
    return (
        f"The earlier run was trained on the texts of {known:,} of the {rows}. They are left out of the figures before "
        "and after."
    )


def describe_teacher_rows(run: Run) -> str | None:
    """Say how many rows of a teacher were left out because their texts are in a held-out split."""
    counts = {split: count for split, count in (run.get("teacher_rows_left_out") or {}).items() if count}
    if not counts:
        return None
    listed = " and ".join(f"{count:,} in the {SPLIT_NAMES[split]} split" for split, count in counts.items())
    return f"Rows of the teacher that were left out of the training, because their texts are held out: {listed}."


def _find_split(run: Run) -> str:
    """Return the split that checkpoints were measured on."""
    return str(run["best"].get("split", "validation"))


def _find_best_epoch(run: Run) -> Mapping[str, Any]:
    """Return the line of the history of the best checkpoint, or nothing."""
    return next((epoch for epoch in run["history"] if epoch["epoch"] == run["best"]["epoch"]), {})


def _find_rows_by_label(run: Run, split: str) -> Mapping[str, int]:
    """Return the rows of each label of the run in a split; nothing if run.json does not say."""
    rows = run.get("rows_by_label", {}).get(split)
    return {label: rows.get(label, 0) for label in run["labels"]} if rows else {}


def _measure_majority(run: Run) -> dict[str, Any] | None:
    """Return label, accuracy and macro_f1 of the answer that gives every row the most frequent label."""
    rows = _find_rows_by_label(run, _find_split(run))
    if not rows or not sum(rows.values()):
        return None
    label, most = max(rows.items(), key=lambda item: item[1])
    total = sum(rows.values())
    return {"label": label, "accuracy": most / total, "macro_f1": 2 * most / (total + most) / len(rows)}


def _measure_change(run: Run, name: str) -> tuple[float, float] | None:
    """Return macro-F1 on the new or old reviews before and after a training that started from a run."""
    both = (run.get("earlier") or {}).get(name)
    return (both["before"]["macro_f1"], both["after"]["macro_f1"]) if both else None


def _format_share(share: float) -> str:
    return "under 1%" if 0 < share < 0.005 else f"{share:.0%}"


def _format(metrics: Mapping[str, Any]) -> str:
    return f"macro-F1 {metrics['macro_f1']:.3f} and accuracy {metrics['accuracy']:.3f}"


FACTS = (
    describe_result,
    describe_truncation,
    describe_new_reviews,
    describe_old_reviews,
    describe_earlier_keys,
    describe_teacher_rows,
)
WARNINGS = (
    warn_of_few_steps,
    warn_of_unused_labels,
    warn_of_no_gain,
    warn_of_labels_without_rows,
    warn_of_few_measured_rows,
    warn_of_lost_reviews,
    warn_of_known_rows,
)

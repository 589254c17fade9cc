"""Says in plain sentences how a search went; stderr shows them at its end. Knows tune.json alone.

Each function takes the content of tune.json and returns one sentence, or None where there is nothing to say. A new
sentence is one function and one entry in WARNINGS or FACTS.
"""

from collections.abc import Mapping
from typing import Any

from sentiment_ray.train import closing

Search = Mapping[str, Any]

METRIC_NAMES = {"macro_f1": "macro-F1", "accuracy": "accuracy", "validation_loss": "validation loss"}


def show_closing(search: Search) -> None:
    """Show the sentences about a finished search on stderr, facts first."""
    closing.show_sentences(search, FACTS, WARNINGS)


def describe_counts(search: Search) -> str:
    """Say how many settings were trained, how many of them were stopped early, and how many failed."""
    num_trained, num_stopped, num_failed = len(search["trials"]), search["stopped_early"], len(search["failed"])
    trained = f"{num_trained:,} {'setting was' if num_trained == 1 else 'settings were'} trained"
    stopped = f", {num_stopped:,} of them not to the end, because others were ahead" if num_stopped else ""
    failed = f"; {num_failed:,} failed" if num_failed else ""
    return f"{trained}{stopped}{failed}."


def describe_best(search: Search) -> str:
    """Say how good the best trial is, beside the others and the keys of [train] themselves."""
    scores = search["scores"]
    best = f"The best trial has {METRIC_NAMES[_get_metric(search)]} {_format(scores['best'])}"
    keys = ", ".join(f"{key} = {_format_value(value)}" for key, value in search["best"]["keys"].items())
    others = []
    if scores["second_best"] is not None:
        others.append(f"the second best has {_format(scores['second_best'])}")
        if len(search["trials"]) > 2:
            others.append(f"the worst {_format(scores['worst'])}")
    if scores["keys_of_train"] is not None:
        others.append(f"the keys of [train] as they are {_format(scores['keys_of_train'])}")
    ending = f"; {', '.join(others)}" if others else ""
    return f"{best} on the validation split, with {keys}{ending}."


def warn_of_values_at_ends(search: Search) -> str | None:
    """Warn of best values at the end of what was tried, beyond which better ones may be."""
    listed = [
        f"{key} = {_format_value(found['value'])} (tried: {' to '.join(map(_format_value, found['ends']))})"
        for key, found in search["values_at_ends"].items()
    ]
    if not listed:
        return None
    return f"At the end of what was tried is {', '.join(listed)}. A wider range may have better values."


def warn_of_other_steps(search: Search) -> str | None:
    """Warn of a training that may take smaller steps than its trials did."""
    return describe_other_steps(search["config"][1]["num_workers"])


def describe_other_steps(num_workers: Any) -> str | None:
    """Say how the steps of trials differ from those of a training with a range of workers; None for one number."""
    if isinstance(num_workers, int) or num_workers[0] == num_workers[1]:
        return None
    return (
        f"num_workers = {list(num_workers)}: a trial takes the steps of {num_workers[1]} workers. A training with "
        "fewer workers takes smaller steps, and other keys may be best for it."
    )


def warn_of_few_steps(search: Search) -> str | None:
    """Warn of a best trial of so few steps that little can be learned."""
    return closing.warn_of_few_steps(_describe_as_run(search), " in the best trial")


def warn_of_unused_labels(search: Search) -> str | None:
    """Warn of a best trial that gives one label to all rows, or that never gives a label that rows have."""
    return closing.warn_of_unused_labels(_describe_as_run(search), "The best trial")


def warn_of_no_gain(search: Search) -> str | None:
    """Warn of a best trial that is no better than one label for all rows."""
    return closing.warn_of_no_gain(_describe_as_run(search), "The best trial")


def warn_of_labels_without_rows(search: Search) -> str | None:
    """Warn of labels that no row of a split has, because their F1 counts as 0 in macro-F1."""
    return closing.warn_of_labels_without_rows(_describe_as_run(search))


def warn_of_few_measured_rows(search: Search) -> str | None:
    """Warn of scores that were measured on so few rows that they say little about new reviews."""
    return closing.warn_of_few_measured_rows(_describe_as_run(search))


def _describe_as_run(search: Search) -> dict[str, Any]:
    """Return the best trial as run.json would describe it, if it were a training."""
    history, metric = search["best"]["history"], _get_metric(search)
    choose = min if metric == "validation_loss" else max
    metrics = choose(history, key=lambda epoch: epoch[metric])
    return {
        "best": {"epoch": metrics["epoch"], "split": "validation", "metrics": metrics},
        "history": history,
        "labels": search["labels"],
        "rows_by_label": search["rows_by_label"],
    }


def _get_metric(search: Search) -> str:
    return str(search["config"][1]["best_by"])


def _format(score: float) -> str:
    """Return a score as its metric; a loss is negated as a score."""
    return f"{abs(score):.3f}"


def _format_value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


FACTS = (describe_counts, describe_best)
WARNINGS = (
    warn_of_values_at_ends,
    warn_of_other_steps,
    warn_of_few_steps,
    warn_of_unused_labels,
    warn_of_no_gain,
    warn_of_labels_without_rows,
    warn_of_few_measured_rows,
)

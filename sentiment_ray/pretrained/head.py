"""Compares the labels of a model's earlier head with those of a training; loads no model."""

from collections.abc import Mapping, Sequence
from typing import Any

CLASSIFIER = "ForSequenceClassification"


def find_head_rows(config: Mapping[str, Any], labels: Sequence[str]) -> list[int] | None:
    """Return for each label the row of the earlier head that answers it, by the names in config.json.

    Case does not matter. None when the names differ: then nothing says what the rows of the head answer.
    """
    earlier = _read_labels(config)
    if sorted(earlier) != sorted(labels):
        earlier, labels = [each.casefold() for each in earlier], [each.casefold() for each in labels]
    if sorted(earlier) != sorted(labels) or len(set(labels)) != len(labels):
        return None
    return [earlier.index(label) for label in labels]


def describe_earlier_head(name: str, config: Mapping[str, Any], labels: Sequence[str]) -> str | None:
    """Return one line that says what becomes of a model's head; None when config.json names no classifier.

    `name` is what the line calls the model.
    """
    if not any(str(each).endswith(CLASSIFIER) for each in config.get("architectures") or ()):
        return None
    rows, earlier = find_head_rows(config, labels), ", ".join(_read_labels(config))
    if rows is None:
        return (
            f"{name} is a classifier with other labels ({earlier}) than the reviews ({', '.join(labels)}), so the "
            "training begins with a new head"
        )
    if rows == list(range(len(labels))):
        return f"{name} is a classifier with the same labels ({earlier}), so the training begins with its head"
    return (
        f"{name} is a classifier with the same labels in another order ({earlier}), so the rows of its head are put in "
        f"the order of the reviews' labels ({', '.join(labels)})"
    )


def _read_labels(config: Mapping[str, Any]) -> list[str]:
    """Return the labels in config.json by the index of their logit; without any, the names that transformers gives."""
    names = config.get("id2label")
    if not isinstance(names, Mapping):
        return ["LABEL_0", "LABEL_1"]
    try:
        return [str(names[key]) for key in sorted(names, key=int)]
    except ValueError:
        return []

"""The ordered list of labels that every stage copies and none infers; knows nothing of data or models."""

from collections.abc import Sequence

from sentiment_ray.errors import ConfigError

DEFAULT_LABELS = ("negative", "neutral", "positive")


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Return `labels` as a tuple; ConfigError unless they are two or more distinct, non-empty names."""
    names = tuple(label.strip() for label in labels)
    if len(names) < 2 or len(set(names)) != len(names) or not all(names):
        raise ConfigError(
            f"labels = {list(labels)} cannot be used: give two or more different names, "
            'for example labels = ["negative", "neutral", "positive"].'
        )
    return names


def label2id(labels: Sequence[str]) -> dict[str, int]:
    """Map each label to its place in the list, which is its place in the logits."""
    return {label: index for index, label in enumerate(labels)}


def id2label(labels: Sequence[str]) -> dict[int, str]:
    """Map each place in the logits to its label."""
    return dict(enumerate(labels))

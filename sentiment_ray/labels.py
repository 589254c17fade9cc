"""The ordered list of labels that every stage copies and none infers; knows nothing of data or models."""

import unicodedata
from collections.abc import Sequence

from sentiment_ray.errors import ConfigError

DEFAULT_LABELS = ("negative", "neutral", "positive")
MAX_CHARACTERS = 256
CONTROLS = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, halves of surrogate pairs, and ends of lines and paragraphs."""


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Return `labels` as a tuple; ConfigError unless they are two or more distinct names."""
    names = tuple(label.strip() for label in labels)
    if len(names) < 2 or len(set(names)) != len(names) or not all(map(is_label, names)):
        raise ConfigError(
            f"labels = {list(labels)} cannot be used: give two or more different names, "
            'for example labels = ["negative", "neutral", "positive"].'
        )
    return names


def is_label(name: str) -> bool:
    """Whether a name can be a label: one line of text, neither empty nor endless, without spaces around it."""
    controls = any(unicodedata.category(letter) in CONTROLS for letter in name)
    return 0 < len(name) <= MAX_CHARACTERS and name == name.strip() and not controls


def label2id(labels: Sequence[str]) -> dict[str, int]:
    """Map each label to its place in the list, which is its place in the logits."""
    return {label: index for index, label in enumerate(labels)}


def id2label(labels: Sequence[str]) -> dict[int, str]:
    """Map each place in the logits to its label."""
    return dict(enumerate(labels))

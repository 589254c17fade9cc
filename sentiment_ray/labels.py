"""The ordered list of labels; every stage copies it and none infers it. Knows nothing of data or models."""

import unicodedata
from collections.abc import Sequence

from sentiment_ray.errors import ConfigError

DEFAULT_LABELS = ("negative", "neutral", "positive")
MAX_CHARACTERS = 256
NEAREST_LABEL = "nearest label by embedding"
"""How an encoder that is not fine-tuned answers: with the label whose description has the nearest embedding."""
CONTROL_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories of control characters, surrogates, and separators of lines and paragraphs."""


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Return `labels` as a tuple without spaces around them; ConfigError unless they are two or more distinct names."""
    names = tuple(label.strip() for label in labels)
    if len(names) < 2 or len(set(names)) != len(names) or not all(map(is_label, names)):
        raise ConfigError(
            f"labels = {list(labels)} cannot be used: give two or more different names, "
            'for example labels = ["negative", "neutral", "positive"].'
        )
    return names


def is_label(name: str) -> bool:
    """Whether a name can be a label: one line of 1 to MAX_CHARACTERS characters, without spaces around it."""
    has_control = any(unicodedata.category(character) in CONTROL_CATEGORIES for character in name)
    return 0 < len(name) <= MAX_CHARACTERS and name == name.strip() and not has_control


def label2id(labels: Sequence[str]) -> dict[str, int]:
    """Map each label to its index in the list, which is also its index in the logits."""
    return {label: index for index, label in enumerate(labels)}


def id2label(labels: Sequence[str]) -> dict[int, str]:
    """Map each index of the logits to its label."""
    return dict(enumerate(labels))


def describe_labels(labels: Sequence[str]) -> list[str]:
    """Return a sentence for each label, whose embedding an encoder compares with that of a text."""
    return [f"The sentiment of this text is {label}." for label in labels]

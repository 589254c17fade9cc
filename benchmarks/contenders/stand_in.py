"""A classifier that takes a fixed time for each row: what is lost or doubled at a kill does not depend on the model."""

import time
from collections.abc import Iterable

SECONDS_PER_ROW = 0.005


def label_texts(texts: Iterable[str]) -> list[str]:
    """Return a label for each text after a while."""
    labels = ["positive" if len(text) % 2 else "negative" for text in texts]
    time.sleep(len(labels) * SECONDS_PER_ROW)
    return labels

"""Finds rows of two sources with the same text: new rows that an earlier run knows, held-out rows that a teacher has.

Texts are the same when they are equal once cleaned and normalised, as prepare_reviews compares them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pyarrow import parquet

from sentiment_ray.data.hashing import normalise
from sentiment_ray.text.cleaning import clean
from sentiment_ray.train.prepared import HELD_OUT_SPLITS, PreparedReviews
from sentiment_ray.train.shards import Source


def find_known_rows(split: Path, known: Path, steps: Sequence[str]) -> list[str]:
    """Return the text of each row of a split that has the same text as a row of another split.

    `steps` are the cleaning steps of the first split. Only its texts are held in memory.
    """
    texts = [text for path in split.glob("*.parquet") for _, some in _read_texts(path) for text in some]
    compared = {normalise(text) for text in texts}
    normalise_known = _make_normaliser(steps)
    found = set()
    for path in known.glob("*.parquet"):
        for _, some in _read_texts(path):
            found |= compared.intersection(map(normalise_known, some))
    return [text for text in texts if normalise(text) in found]


def leave_out_held_out_rows(source: Source, prepared: PreparedReviews) -> tuple[Source, dict[str, int]]:
    """Return a source without the rows whose texts are in the validation or the test split.

    Also return how many rows were left out because of each split; a text of both splits counts as one of validation.
    """
    split_by_text: dict[str, str] = {}
    for split in reversed(HELD_OUT_SPLITS):
        for path in (prepared.directory / split).glob("*.parquet"):
            split_by_text |= {normalise(text): split for _, texts in _read_texts(path) for text in texts}
    normalise_text = _make_normaliser(prepared.cleaning_steps)
    counts = dict.fromkeys(HELD_OUT_SPLITS, 0)
    left_out = {}
    for path in source.files:
        for group, texts in _read_texts(path, source.text):
            splits = [split_by_text.get(normalise_text(text)) for text in texts]
            for split in filter(None, splits):
                counts[split] += 1
            rows = np.array([row for row, split in enumerate(splits) if split], dtype=np.int64)
            if len(rows):
                left_out[path, group] = rows
    return replace(source, left_out=left_out), counts


def _make_normaliser(steps: Sequence[str]) -> Callable[[str | None], str]:
    """Return a function that cleans and normalises a text; of a missing text it makes an empty one."""
    return lambda text: normalise(clean(text, steps)) if text else ""


def _read_texts(path: Path, column: str = "text") -> Iterator[tuple[int, list[str]]]:
    """Yield the index of each row group of a file, and its texts."""
    file = parquet.ParquetFile(path)
    for group in range(file.metadata.num_row_groups):
        yield group, file.read_row_group(group, columns=[column])[column].to_pylist()

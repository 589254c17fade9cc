"""Finds held-out texts that a training reads elsewhere: in an earlier run, or with a teacher's answers."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pyarrow import parquet

from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.prepared import PreparedReviews
from sentiment_ray.train.teacher import find_teacher_rows


def find_known_texts(split: Path, known: Path) -> frozenset[str]:
    """Return the texts of a split that are also in another split; only those of the first are held in memory."""
    texts = set(_read_texts(split.glob("*.parquet")))
    return frozenset(text for text in _read_texts(known.glob("*.parquet")) if text in texts)


def count_teacher_rows(config: TrainConfig, prepared: PreparedReviews) -> dict[str, int]:
    """Return how many texts of validation and of test are among the rows of the teacher of `distill`."""
    if not config.distill:
        return {}
    source = find_teacher_rows(config.distill, prepared.labels)
    held_out = {
        split: set(_read_texts((prepared.directory / split).glob("*.parquet"))) for split in ("validation", "test")
    }
    counts = dict.fromkeys(held_out, 0)
    for text in _read_texts(source.files, source.text):
        for split, texts in held_out.items():
            if text in texts:
                counts[split] += 1
                texts.remove(text)
    return counts


def _read_texts(files: Iterable[Path], column: str = "text") -> Iterator[str]:
    for path in files:
        for batch in parquet.ParquetFile(path).iter_batches(columns=[column]):
            yield from batch[column].to_pylist()

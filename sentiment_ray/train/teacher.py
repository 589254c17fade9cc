"""The scores that a larger model gave to unlabelled reviews, as a source of training rows; knows no model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyarrow import parquet

from sentiment_ray.errors import DataError
from sentiment_ray.manifest import local_path, read_json
from sentiment_ray.train.config import Distill
from sentiment_ray.train.shards import Source

SCORES_NAME = "_MANIFEST.json"


def scored_by_teacher(distill: Distill, labels: Sequence[str]) -> Source:
    """Return the rows of a finished scoring run; DataError when it lacks the texts or a probability for each label."""
    path, manifest = _manifest(distill)
    read = manifest["config"]["text_column"]
    if list(read) != [distill.text_column]:
        raise DataError(
            f"distill.text_column = {distill.text_column!r}, but {distill.scores!r} scored {', '.join(read)}: its "
            "probabilities are those of another text. Name that column, or score reviews by one column."
        )
    files = tuple(path / part["path"] for part in manifest["parts"])
    columns = tuple(distill.prefix + label for label in labels)
    for file in files:
        missing = sorted({distill.text_column, *columns} - set(parquet.read_schema(file).names))
        if missing:
            raise DataError(
                f"distill.scores = {distill.scores!r}: {file.name} has no column {missing[0]!r}. Score reviews with "
                "their text and probabilities, and with a bundle that has the labels of the reviews."
            )
    return Source(files, text=distill.text_column, label=None, teacher=columns)


def fingerprint_of_teacher(distill: Distill) -> str:
    """Return what the scores were made of and with."""
    return str(_manifest(distill)[1]["fingerprint"])


def _manifest(distill: Distill) -> tuple[Path, dict[str, Any]]:
    path = local_path(distill.scores, "distill.scores")
    return path, read_json(path / SCORES_NAME)

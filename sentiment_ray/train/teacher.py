"""Reads the scores that a larger model gave to unlabelled reviews, as a source of training rows; knows no model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyarrow import parquet

from sentiment_ray.errors import DataError
from sentiment_ray.manifest import read_json
from sentiment_ray.paths import decode_name, local_path
from sentiment_ray.train.config import Distill
from sentiment_ray.train.shards import Source

SCORES_NAME = "_MANIFEST.json"


def find_teacher_rows(distill: Distill, labels: Sequence[str]) -> Source:
    """Return the rows of a finished scoring run.

    DataError when it lacks the texts or a probability for each label, or when its manifest names files outside it.
    """
    path, manifest = _read_manifest(distill)
    scored_columns = manifest["config"]["text_column"]
    if list(scored_columns) != [distill.text_column]:
        raise DataError(
            f"distill.text_column = {distill.text_column!r}, but {distill.scores!r} scored "
            f"{', '.join(scored_columns)}: its probabilities belong to another text. Name that column, or score the "
            "reviews by one column."
        )
    files = tuple(path / name for name in _list_parts(path, manifest))
    for file in files:
        if not file.resolve().is_relative_to(path.resolve()):
            raise DataError(
                f"distill.scores = {distill.scores!r}: {SCORES_NAME} names {str(file)[:200]!r}, which is outside that "
                "directory. Score the reviews again."
            )
    columns = tuple(distill.prefix + label for label in labels)
    for file in files:
        missing = sorted({distill.text_column, *columns} - set(parquet.read_schema(file).names))
        if missing:
            raise DataError(
                f"distill.scores = {distill.scores!r}: {file.name} has no column {missing[0]!r}. Score the reviews "
                "again, with text and probabilities in the output, and with a bundle that has the same labels."
            )
    return Source(files, text=distill.text_column, label=None, teacher=columns)


def _list_parts(path: Path, manifest: dict[str, Any]) -> list[str]:
    """Return the names of all parts. Version 1 of the manifest has them, later ones name the files that have them."""
    names = [str(part["path"]) for part in manifest.get("parts", ())]
    for shard in manifest.get("receipts", ()):
        if not (path / shard).resolve().is_relative_to(path.resolve()):
            raise DataError(f"{path / SCORES_NAME} names {shard[:200]!r}, which is outside that directory.")
        receipts = parquet.read_table(path / shard, columns=["part", "file_names"], partitioning=None).to_pylist()
        names += [decode_name(row["part"]) for row in receipts if row["part"] in row["file_names"]]
    return names


def read_teacher_fingerprint(distill: Distill) -> str:
    """Return the fingerprint of the scores: of the bundle, the input and the configuration that made them."""
    return str(_read_manifest(distill)[1]["fingerprint"])


def _read_manifest(distill: Distill) -> tuple[Path, dict[str, Any]]:
    path = local_path(distill.scores, "distill.scores")
    return path, read_json(path / SCORES_NAME)

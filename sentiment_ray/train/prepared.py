"""Reads what prepare_reviews says of its reviews in prepared.json; knows no torch and no Ray."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyarrow import parquet

from sentiment_ray.errors import DataError
from sentiment_ray.manifest import hash_file, read_json
from sentiment_ray.pretrained.runs import has_reviews_of

MANIFEST_NAME = "prepared.json"
HELD_OUT_SPLITS = ("validation", "test")
SPLITS = ("train", *HELD_OUT_SPLITS)
BYTES_PER_TOKEN = 4.0
"""Bytes of text for each token, about, in English; the samples have 3.9 to 4.4."""


@dataclass(frozen=True)
class PreparedReviews:
    """A directory that prepare_reviews wrote."""

    directory: Path
    labels: tuple[str, ...]
    num_rows: dict[str, int]
    """Rows of each split."""
    rows_by_label: dict[str, dict[str, int]]
    """Rows of each label, by split."""
    cleaning_steps: tuple[str, ...]
    earlier_digest: str | None = None
    """The digest by which an earlier run knows the same reviews, if their prepared.json was written again since."""

    @property
    def checkpoint_split(self) -> str:
        """The split that checkpoints are measured on: validation, or train when validation is empty."""
        return "validation" if self.num_rows["validation"] else "train"

    @property
    def measured_split(self) -> Path:
        """The directory of the split that a finished model is measured on: test, or `checkpoint_split` without rows."""
        return self.directory / ("test" if self.num_rows["test"] else self.checkpoint_split)

    def estimate_mean_tokens(self) -> float:
        """Return about how many tokens a training row has, from the size of the column `text`; it reads no row."""
        num_bytes = num_rows = 0
        for path in (self.directory / "train").glob("*.parquet"):
            metadata = parquet.read_metadata(path)
            column = metadata.schema.names.index("text")
            for group in range(metadata.num_row_groups):
                num_bytes += metadata.row_group(group).column(column).total_uncompressed_size
            num_rows += metadata.num_rows
        return num_bytes / BYTES_PER_TOKEN / max(num_rows, 1)

    def compute_digest(self) -> str:
        """Return the sha256 of prepared.json, which changes with the reviews."""
        return self.earlier_digest or hash_file(self.directory / MANIFEST_NAME)


def read_prepared(directory: Path) -> PreparedReviews:
    """Read prepared.json; DataError when it is missing or was not written by prepare_reviews."""
    path = directory / MANIFEST_NAME
    manifest = read_json(path)
    try:
        return PreparedReviews(
            directory=directory,
            labels=tuple(manifest["labels"]),
            num_rows={split: manifest["counts"][split] for split in SPLITS},
            rows_by_label=manifest["by_split"],
            cleaning_steps=tuple(manifest.get("steps", ())),
        )
    except KeyError as error:
        raise DataError(f"{path} has no key {error}. Write it again with prepare_reviews.") from None


def recognise_reviews(prepared: PreparedReviews, run: Mapping[str, Any]) -> PreparedReviews:
    """Return reviews with the digest in `run`, a manifest with `made_from` and `reviews`, if it was made from them."""
    if "made_from" not in run or not has_reviews_of(prepared.directory, run):
        return prepared
    return replace(prepared, earlier_digest=run["made_from"]["prepared"])

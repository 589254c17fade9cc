"""Submits the preparation of raw reviews; knows flags, not data."""

from typing import Any

from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.shell import run, stage_job


@stage_job(
    "prepare",
    PrepareConfig,
    example="python -m jobs.prepare_reviews --input reviews/ --text-column body --label-column stars --output prepared",
)
def main(config: PrepareConfig) -> dict[str, Any]:
    """Check raw reviews, remove duplicates and divide them into train, validation and test.

    Reads Parquet, CSV, TSV, JSON Lines and chat files. A defective row is set aside in OUTPUT/rejected with its place
    and the reason; a file that cannot be read stops the job. Equal texts never stand in two splits, and rows that are
    added later never move older ones. Several sources are written as [[prepare.sources]] in a file for --config.
    """
    from sentiment_ray.data.prepare import prepare_reviews

    return prepare_reviews(config)


if __name__ == "__main__":
    run(main)

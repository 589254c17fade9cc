"""Submits the preparation of raw reviews; knows flags, not data."""

from typing import Any

from sentiment_ray.config.shell import run, stage_job
from sentiment_ray.data.config import PrepareConfig


def prepare(config: PrepareConfig) -> dict[str, Any]:
    """Prepare reviews, with the base encoder at hand where the configuration names one."""
    from sentiment_ray.data.prepare import prepare_reviews

    if config.model is None:
        return prepare_reviews(config)
    from sentiment_ray.train.embedding import embed_texts

    return prepare_reviews(config, embed=embed_texts)


@stage_job(
    "prepare",
    PrepareConfig,
    example="python -m jobs.prepare_reviews --input reviews/ --text-column body --label-column label --output prepared",
)
def main(config: PrepareConfig) -> dict[str, Any]:
    """Check raw reviews, remove duplicates and divide them into train, validation and test.

    Reads Parquet, CSV, TSV, JSON Lines and chat files. A defective row is set aside in OUTPUT/rejected with its place
    and the reason; a file that cannot be read stops the job. Equal texts never stand in two splits, and rows that are
    added later never move older ones. OUTPUT/report.html tells what is wrong with the reviews; --check makes only that
    and ends with 3 when a limit is crossed. Several sources are written as [[prepare.sources]] in a file for --config.
    """
    return prepare(config)


if __name__ == "__main__":
    run(main)

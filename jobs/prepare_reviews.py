"""The command that prepares raw reviews."""

from typing import Any

from sentiment_ray.config.shell import run, stage_job
from sentiment_ray.data.config import PrepareConfig


def prepare(config: PrepareConfig) -> dict[str, Any]:
    """Prepare reviews; load the base encoder only if the configuration names one."""
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
    """Check raw reviews, remove duplicates and split them into train, validation and test.

    The reviews can be Parquet, CSV, TSV, JSON Lines and chat files. A defective row is moved to OUTPUT/rejected, with
    its file, its number and the reason. A file that cannot be read stops the job. Equal texts are never in two splits,
    and rows that are added later do not move older ones. OUTPUT/report.html shows what is wrong with the reviews.
    --check writes only the report, and exits with 3 if a limit is crossed. Several sources are described as
    [[prepare.sources]] in a file for --config.
    """
    return prepare(config)


if __name__ == "__main__":
    run(main)

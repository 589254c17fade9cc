"""Job: score a Parquet corpus with a bundle on Ray Data; parses, calls, prints."""

from typing import Any

from sentiment_ray.config.shell import run, stage_job
from sentiment_ray.score.config import ScoreConfig


@stage_job(
    "score",
    ScoreConfig,
    example="python -m jobs.score_reviews --bundle runs/demo/bundle --input reviews/ --output scores/",
)
def main(config: ScoreConfig) -> dict[str, Any]:
    """Score every row of a Parquet corpus; the output mirrors the input's files and adds sentiment columns.

    Rows that cannot be scored go to _quarantine/ with their reason. Given again after a crash, the command does what is
    missing; the output is finished when it holds _SUCCESS. --plan says before what it takes.
    """
    from sentiment_ray.score.score import score_reviews

    return score_reviews(config)


if __name__ == "__main__":
    run(main)

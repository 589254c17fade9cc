"""The job that scores a Parquet corpus with a bundle on Ray Data: reads its configuration and calls the stage."""

from typing import Any

from sentiment_ray.config.shell import run, stage_job
from sentiment_ray.score.config import ScoreConfig


@stage_job(
    "score",
    ScoreConfig,
    example="python -m jobs.score_reviews --bundle runs/demo/bundle --input reviews/ --output scores/",
)
def main(config: ScoreConfig) -> dict[str, Any]:
    """Score every row of a Parquet corpus. The output has the files of the input with sentiment columns added.

    Rows that cannot be scored go to _quarantine/ with a reason. The output is finished when it holds _SUCCESS. After a
    crash, run the same command again: it scores only what is missing. --plan estimates time and cost beforehand.
    """
    from sentiment_ray.score.score import score_reviews

    return score_reviews(config)


if __name__ == "__main__":
    run(main)

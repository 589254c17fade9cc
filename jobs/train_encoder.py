"""Job: fine-tune an encoder on prepared reviews with Ray Train; parses, calls, prints."""

from typing import Any

from sentiment_ray.config.shell import run, stage_job
from sentiment_ray.train.config import TrainConfig


@stage_job(
    "train",
    TrainConfig,
    example="python -m jobs.train_encoder --config jobs/configs/demo.toml --num-workers 2 --output runs/two/run",
)
def main(config: TrainConfig) -> dict[str, Any]:
    """Fine-tune an encoder on prepared reviews and keep the best checkpoints.

    Reads the directory that prepare_reviews wrote; writes checkpoints and run.json. After a crash, run the same command
    again: the training resumes from the newest complete checkpoint and ends with the same result (docs/training.md).
    """
    from sentiment_ray.train.trainer import train_encoder

    return train_encoder(config)


if __name__ == "__main__":
    run(main)

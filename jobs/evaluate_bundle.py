"""The job that evaluates a bundle on labelled reviews: reads its configuration and calls the stage."""

from typing import Any

from sentiment_ray.config.shell import run, stage_job
from sentiment_ray.evaluate.config import EvaluateConfig


@stage_job(
    "evaluate",
    EvaluateConfig,
    example="python -m jobs.evaluate_bundle --bundle runs/demo/bundle --input runs/demo/prepared/test --output report",
)
def main(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate a bundle on labelled reviews, alone or against another bundle, and write a report."""
    from sentiment_ray.evaluate.evaluate import evaluate_bundle

    return evaluate_bundle(config)


if __name__ == "__main__":
    run(main)

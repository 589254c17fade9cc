"""Job: run all stages of one configuration file, from raw reviews to scores; stages that are up to date are skipped."""

import importlib
import time
from typing import Any

import click

from export.config import ExportConfig
from sentiment_ray import log
from sentiment_ray.config.flags import add_verbose_flag
from sentiment_ray.config.sections import StageConfig, load_config, read_toml
from sentiment_ray.config.shell import print_result, run, run_stage
from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.evaluate.config import EvaluateConfig
from sentiment_ray.evaluate.summary import print_summary
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.train.config import TrainConfig

STAGES: dict[str, tuple[type[StageConfig], str]] = {
    "prepare": (PrepareConfig, "jobs.prepare_reviews.prepare"),
    "train": (TrainConfig, "sentiment_ray.train.trainer.train_encoder"),
    "export": (ExportConfig, "export.build.export_bundle"),
    "evaluate": (EvaluateConfig, "sentiment_ray.evaluate.evaluate.evaluate_bundle"),
    "score": (ScoreConfig, "sentiment_ray.score.score.score_reviews"),
}
"""The keys and the function of each stage; the function's module is imported when the stage runs."""


@add_verbose_flag("pipeline")
@click.command(epilog="\b\nExample:\n  python -m jobs.pipeline --config jobs/configs/demo.toml")
@click.option("--config", required=True, metavar="FILE", help="TOML file with a section for each stage to run.")
def main(config: str) -> None:
    """Run every stage that the configuration file has a section for: prepare, train, export, evaluate, score.

    A stage is skipped when its output exists and was made from the same input and configuration. Otherwise it runs, and
    an old output stays until the new one is whole.
    """
    present = [section for section in STAGES if section in read_toml(config)]
    # All sections are checked before the first stage does any work.
    flags = {"restart": True}
    configs = {section: load_config(STAGES[section][0], section, file=config, flags=flags) for section in present}
    importlib.import_module("sentiment_ray.train.preflight").check_models(configs)
    results = {section: _run_stage(section, configs[section]) for section in present}
    print_summary(results)
    print_result({"output": results[present[-1]]["output"], "stages": results})


def _run_stage(section: str, config: StageConfig) -> dict[str, Any]:
    started = time.monotonic()
    log.set_stage(section)
    module, _, name = STAGES[section][1].rpartition(".")
    result = dict(run_stage(lambda: getattr(importlib.import_module(module), name)(config)))
    note = "up to date" if result.get("skipped") else f"{time.monotonic() - started:.0f} s"
    log.notify(f"{section:<9}{note:>11}  {result['output']}")
    return result


if __name__ == "__main__":
    run(main)

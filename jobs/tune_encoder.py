"""Job: search for the training keys that fit the reviews best; parses, calls, prints."""

import sys
from contextlib import redirect_stdout
from typing import Any

import click

from sentiment_ray.config.sections import load_config
from sentiment_ray.config.shell import config_from, options_of, print_result, run
from sentiment_ray.errors import ConfigError, require_extra
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.tune_config import TuneConfig


def _search(**given: Any) -> None:
    """Try values of [train] keys on the validation split and write the best as best.toml.

    The file has two sections: [train] as for train_encoder, and [tune] with [tune.search], which says what to try for
    which key, the model included. Run the same command again after a crash and trials that are over are kept.
    """
    if not given["config"]:
        raise ConfigError("--config is missing: the file has the sections [train] and [tune].")
    tune = config_from("tune", TuneConfig, given)
    base = load_config(TrainConfig, "train", file=given["config"], flags={})
    require_extra("tune", "optuna", "tomli_w")
    with redirect_stdout(sys.stderr):  # Ray tells on stdout of every process that dies
        from sentiment_ray.train.tune import tune_encoder

        result = tune_encoder(tune, base)
    print_result(result)


main = click.Command(
    name="tune",
    callback=_search,
    params=options_of("tune", TuneConfig),
    help=_search.__doc__,
    epilog="\b\nExample:\n  python -m jobs.tune_encoder --config jobs/configs/tune.toml --trials 10",
    context_settings={"max_content_width": 110},
)

if __name__ == "__main__":
    run(main)

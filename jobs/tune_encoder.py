"""Job: search for the best keys of [train]; parses, calls, prints."""

from typing import Any

import click

from sentiment_ray.config.flags import make_flags
from sentiment_ray.config.sections import load_config
from sentiment_ray.config.shell import print_result, read_config, run, run_stage
from sentiment_ray.errors import ConfigError, require_extra
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.tune_config import TuneConfig


def _search(**given: Any) -> None:
    """Try values for keys of [train], measure them on the validation split, and write the best as best.toml.

    The file has two sections: [train], as for train_encoder, and [tune]. Its table [tune.search] lists the values to
    try for each key; the model can be one of the keys. After a crash, run the same command again: finished trials are
    kept.
    """
    if not given["config"]:
        raise ConfigError("--config is missing. Name a file with the sections [train] and [tune].")
    tune = read_config("tune", TuneConfig, given)
    base = load_config(TrainConfig, "train", file=given["config"], flags={})
    require_extra("tune", "optuna", "tomli_w")

    def search() -> dict[str, Any]:
        from sentiment_ray.train.tune import tune_encoder

        return tune_encoder(tune, base)

    print_result(run_stage(search))


main = click.Command(
    name="tune",
    callback=_search,
    params=make_flags("tune", TuneConfig),
    help=_search.__doc__,
    epilog="\b\nExample:\n  python -m jobs.tune_encoder --config jobs/configs/tune.toml --trials 10",
    context_settings={"max_content_width": 110},
)

if __name__ == "__main__":
    run(main)

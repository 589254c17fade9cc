"""The command: runs the parts one after the other, shows each result as it comes, and prints a table at the end."""

import time
from pathlib import Path
from typing import Any

import click

from benchmarks.gpu.parts import PARTS, Part, run_part
from benchmarks.gpu.results import Results, read_lines
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.table import build_tables
from sentiment_ray.config.shell import run
from sentiment_ray.errors import ConfigError

LEAST_S = 10.0
"""A part that has less time left than this is not started."""
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True)
EPILOG = """\b
Examples:
  python -m benchmarks.gpu --workdir runs/gpu
  python -m benchmarks.gpu --device cpu --quick --workdir runs/gpu-rehearsal
"""


@click.command(epilog=EPILOG, context_settings={"max_content_width": 110})
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--quick", is_flag=True, help="Rehearse with a few rows and tiny models; the figures say nothing.")
@click.option("--workdir", default="runs/gpu", show_default=True, help="Directory for results, logs and models.")
@click.option("--samples", default="data/samples", show_default=True, help="Directory that fetch_samples wrote.")
@click.option("--model", type=FOLDER, help="Encoder that the jobs fine-tune. [MiniLM of --samples]")
@click.option("--bundle", type=FOLDER, help="Bundle to score with. [the one that the jobs export]")
@click.option("--checkpoint", type=FOLDER, help="Checkpoint that --bundle was made from.")
@click.option("--imdb", type=FOLDER, help="IMDb as prepare_reviews wrote it.")
@click.option("--imdb-model", type=FOLDER, help="Encoder for the part imdb, such as MPNet.")
@click.option("--imdb-epochs", default=3, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="Runs of each contender; they take turns.")
@click.option("--run-s", default=4.0, show_default=True, help="Seconds that one run should take.")
@click.option("--only", multiple=True, type=click.Choice([part.name for part in PARTS]), help="Parts to run. [all]")
@click.option("--limit-s", type=float, help="Time limit of every part. [each has its own]")
@click.option("--total-s", type=float, help="Time limit of all parts together. [none]")
def main(only: tuple[str, ...], limit_s: float | None, total_s: float | None, **options: Any) -> None:
    """Measure training, export and scoring on a CUDA GPU.

    Needs the extras `gpu`, `train`, `export` and `score`, and accelerate for the Trainer. Each result is shown on
    stderr as it comes and kept in WORKDIR/results/. The tables on stdout hold the newest results of every part.
    """
    setting = _read_options(options)
    started = time.monotonic()
    for part in (part for part in PARTS if not only or part.name in only):
        left_s = total_s - (time.monotonic() - started) if total_s else float("inf")
        _run_or_leave_out(part, setting, min(limit_s or part.limit_s, left_s))
    click.echo(build_tables(setting.root))


def _run_or_leave_out(part: Part, setting: Setting, limit_s: float) -> None:
    """Run a part that has enough time, and say how long it took."""
    if limit_s < LEAST_S:
        click.echo(f"{part.name} is left out: {max(limit_s, 0):.0f} s are left", err=True)
        if not read_lines(setting.root, part.name):
            (setting.root / "results").mkdir(exist_ok=True)
            Results(setting.root, part.name).add("all", error="left out: no time was left")
        return
    started = time.monotonic()
    click.echo(f"{time.strftime('%H:%M:%S')} {part.name}, {limit_s:.0f} s at most", err=True)
    run_part(part, setting, limit_s=limit_s, show=lambda line: click.echo(line, err=True))
    click.echo(f"{time.strftime('%H:%M:%S')} {part.name} ended after {time.monotonic() - started:.1f} s", err=True)


def _read_options(options: dict[str, Any]) -> Setting:
    """Return the setting; ConfigError when the options do not belong together."""
    if options["device"] == "cpu" and not options["quick"]:
        raise ConfigError("--device cpu measures nothing about a GPU. Add --quick to rehearse, or use --device cuda.")
    if bool(options["bundle"]) != bool(options["checkpoint"]):
        raise ConfigError("--bundle and --checkpoint belong together. Give both or neither.")
    if options["imdb_model"] and not options["imdb"]:
        raise ConfigError("--imdb-model needs --imdb, the reviews to train on.")
    if options["device"] == "cuda" and not _has_cuda():
        raise ConfigError("torch finds no CUDA device here. Rehearse with --device cpu --quick.")
    paths = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    for name in ("workdir", "samples"):
        paths[name] = str(Path(options[name]).resolve())
    setting = Setting(**paths)
    setting.root.mkdir(parents=True, exist_ok=True)
    return setting


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    run(main)

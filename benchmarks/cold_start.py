"""Measures the time of a fresh process to the Predictor's first answer, and what it goes to; one JSON line."""

import json
import os
import subprocess
import sys
from typing import Any

import click
from harness import CONTENDERS, ROOT, machine, pinned, spread, started_now

from sentiment_ray.config.shell import print_result, run
from sentiment_ray.errors import ConfigError

TEXT = "This is a cherry pie."


@click.command(epilog="\b\nExample:\n  python benchmarks/cold_start.py --bundle runs/demo/bundle")
@click.option("--bundle", required=True, type=click.Path(exists=True, file_okay=False, resolve_path=True))
@click.option("--processes", default=15, show_default=True, help="Fresh processes that are counted.")
@click.option("--threads", default=2, show_default=True, help="Cores that each may use.")
@click.option("--engine", default="auto", show_default=True)
@click.option("--variant", default="auto", show_default=True)
def main(bundle: str, processes: int, threads: int, engine: str, variant: str) -> None:
    """Start processes one after the other; the first, which may find its files not yet in memory, is told apart."""
    where = machine()
    flags = ["--bundle", bundle, "--text", TEXT, "--engine", engine, "--variant", variant, "--threads", str(threads)]
    first, *others = (_first_answer(threads, flags) for _ in range(processes + 1))
    seconds = {part: spread([result["seconds"].get(part, 0.0) for result in others]) for part in first["seconds"]}
    told = {name: first[name] for name in ("engine", "variant", "heavy_modules")}
    print_result({"machine": where, "threads": threads, **told, "seconds": seconds, "first_process": first["seconds"]})


def _first_answer(threads: int, flags: list[str]) -> dict[str, Any]:
    """Return what a fresh process prints."""
    command = [*pinned(threads), sys.executable, CONTENDERS / "first_answer.py", *flags]
    variables = os.environ | {"PYTHONPATH": str(ROOT)} | started_now()
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ConfigError(f"a process ended with {done.returncode}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    run(main)

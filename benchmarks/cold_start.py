"""Measures the time from the start of a process to the Predictor's first answer, by part; prints one JSON line."""

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
@click.option("--processes", default=15, show_default=True, help="Processes to measure, after a first one.")
@click.option("--threads", default=2, show_default=True, help="Cores of each process.")
@click.option("--engine", default="auto", show_default=True)
@click.option("--variant", default="auto", show_default=True)
def main(bundle: str, processes: int, threads: int, engine: str, variant: str) -> None:
    """Start processes one after the other.

    The first process is reported separately, because its files may not be in the page cache yet.
    """
    machine_info = machine()
    flags = ["--bundle", bundle, "--text", TEXT, "--engine", engine, "--variant", variant, "--threads", str(threads)]
    first, *others = (_measure_process(threads, flags) for _ in range(processes + 1))
    seconds = {part: spread([result["seconds"].get(part, 0.0) for result in others]) for part in first["seconds"]}
    settings = {name: first[name] for name in ("engine", "variant", "heavy_modules")}
    print_result(
        {"machine": machine_info, "threads": threads, **settings, "seconds": seconds, "first_process": first["seconds"]}
    )


def _measure_process(threads: int, flags: list[str]) -> dict[str, Any]:
    """Return the result of a new process: seconds by part, engine, variant, loaded heavy modules."""
    command = [*pinned(threads), sys.executable, CONTENDERS / "first_answer.py", *flags]
    variables = os.environ | {"PYTHONPATH": str(ROOT)} | started_now()
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ConfigError(f"a process ended with {done.returncode}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    run(main)

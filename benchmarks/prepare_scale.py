"""Measures preparing many short reviews: rows a second, and does the memory grow with them? One JSON line a size."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from corpora import large_corpus
from memory import in_mib, peak_memory

from sentiment_ray.config.shell import print_result, run


@click.command(epilog="\b\nExample:\n  python benchmarks/prepare_scale.py --texts data/samples/tweets.parquet")
@click.option("--texts", required=True, help="Parquet file of which columns `text` and `label` the corpus is made.")
@click.option("--rows", default=1_000_000, help="Rows of the smallest corpus.")
@click.option("--times", default="1,10", help="Sizes as multiples of it.")
@click.option("--workdir", default="runs/benchmarks/prepare")
def main(texts: str, rows: int, times: str, workdir: str) -> None:
    """Prepare corpora of several sizes, each row another text, and print speed and peak memory of each."""
    for factor in (int(part) for part in times.split(",")):
        corpus = large_corpus(Path(workdir) / f"corpus-{rows * factor}", Path(texts), rows=rows * factor)
        print_result(measure(corpus, Path(workdir) / "prepared"))
        shutil.rmtree(corpus)


def measure(corpus: Path, output: Path) -> dict[str, object]:
    """Run the job once and return the counts, the seconds and the peak of its memory in MiB."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "jobs.prepare_reviews", "--input", str(corpus), "--output", str(output)]
    with tempfile.TemporaryFile() as out:
        started = time.monotonic()
        peak = peak_memory(subprocess.Popen(command, stdout=out))
        seconds = time.monotonic() - started
        out.seek(0)
        counts = json.loads(out.read().splitlines()[-1])["counts"]
    shutil.rmtree(output)
    rate = {"seconds": round(seconds, 1), "rows_per_s": round(counts["rows_in"] / seconds)}
    return counts | rate | in_mib(peak)


if __name__ == "__main__":
    run(main)

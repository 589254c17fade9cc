"""Measures rows per second and peak memory of prepare_reviews for several sizes; prints one JSON line a size."""

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
@click.option("--texts", required=True, help="Parquet file with the columns text and label, to repeat.")
@click.option("--rows", default=1_000_000, help="Rows of the smallest corpus.")
@click.option("--times", default="1,10", help="Sizes as multiples of --rows.")
@click.option("--workdir", default="runs/benchmarks/prepare")
def main(texts: str, rows: int, times: str, workdir: str) -> None:
    """Prepare corpora of distinct texts in several sizes and print the speed and the peak memory of each."""
    for factor in (int(part) for part in times.split(",")):
        corpus = large_corpus(Path(workdir) / f"corpus-{rows * factor}", Path(texts), rows=rows * factor)
        print_result(measure(corpus, Path(workdir) / "prepared"))
        shutil.rmtree(corpus)


def measure(corpus: Path, output: Path) -> dict[str, object]:
    """Run the job once and return its counts, its seconds and its peak memory in MiB."""
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

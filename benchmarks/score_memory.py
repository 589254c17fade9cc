"""Measures the peak memory of score_reviews for 1, 4 and 16 times the rows; prints one JSON line a size.

`peak_ratio` is the peak divided by that of the first size; memory that does not grow with the input gives 1.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from corpora import large_corpus
from memory import in_mib, peak_memory
from pyarrow import parquet

from sentiment_ray.config.shell import print_result, run


@click.command(
    epilog="\b\nExample:\n  python benchmarks/score_memory.py --bundle BUNDLE --texts data/samples/imdb_test.parquet"
)
@click.option("--bundle", required=True, help="Bundle to score with; a small one is fast enough for many rows.")
@click.option("--texts", required=True, help="Parquet file whose column text is repeated to make the corpus.")
@click.option("--rows", default=100_000, help="Rows of the smallest corpus.")
@click.option("--times", default="1,4,16", help="Sizes as multiples of --rows.")
@click.option("--repeated/--distinct", default=False, help="Repeat texts as they are, which is faster.")
@click.option("--unit-rows", default=25_000, help="Rows of a unit; few, so that all workers are busy.")
@click.option("--workdir", default="runs/benchmarks/memory")
def main(bundle: str, texts: str, rows: int, times: str, repeated: bool, unit_rows: int, workdir: str) -> None:
    """Score corpora of several sizes and print the peak memory of each."""
    peaks: dict[int, float] = {}
    for factor in (int(part) for part in times.split(",")):
        name = f"corpus-{rows * factor}" + ("-repeated" if repeated else "")
        corpus = large_corpus(Path(workdir) / name, Path(texts), rows=rows * factor, repeated=repeated)
        result = measure(bundle, corpus, Path(workdir) / "scores", unit_rows)
        peaks[factor] = result["peak_mib"]
        ratio = round(peaks[factor] / next(iter(peaks.values())), 3)
        print_result({"factor": factor, "peak_ratio": ratio} | result)
        shutil.rmtree(corpus)


def measure(bundle: str, corpus: Path, output: Path, unit_rows: int) -> dict[str, Any]:
    """Run the scoring job once and return its rows, its seconds and its peak memory in MiB."""
    shutil.rmtree(output, ignore_errors=True)
    with tempfile.TemporaryFile() as out:
        command = [sys.executable, "-m", "jobs.score_reviews", "--bundle", bundle, "--input", str(corpus)]
        started = time.monotonic()
        options = ["--output", str(output), "--unit-rows", str(unit_rows)]
        peak = peak_memory(subprocess.Popen([*command, *options], stdout=out))
        out.seek(0)
        result = json.loads(out.read().splitlines()[-1])
    size = sum(file.stat().st_size for file in corpus.glob("*.parquet"))
    return {
        "rows": result["rows_scored"],
        "corpus_mib": round(size / 2**20),
        "text_mib": round(_text_bytes(corpus) / 2**20),
        "seconds": round(time.monotonic() - started, 1),
    } | in_mib(peak)


def _text_bytes(corpus: Path) -> int:
    files = [parquet.ParquetFile(path).metadata for path in corpus.glob("*.parquet")]
    groups = [file.row_group(index) for file in files for index in range(file.num_row_groups)]
    return sum(group.column(1).total_uncompressed_size for group in groups)


if __name__ == "__main__":
    run(main)

"""Measures the memory of scoring at 1, 4 and 16 times the rows: does it grow with the corpus? One JSON line a size.

Peak of the sum over the driver, Ray's own processes and the actors, sampled five times a second from smaps_rollup; what
they share counts once, and the object store, which Ray bounds by itself, is given apart.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import cycle, islice
from pathlib import Path

import click
import psutil
import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.shell import print_result, run

EVERY_S = 0.2
OBJECT_STORE = "object store"
ROWS_PER_FILE = 200_000
ROW_GROUP_ROWS = 25_000


@click.command(
    epilog="\b\nExample:\n  python benchmarks/score_memory.py --bundle BUNDLE --texts data/samples/imdb_test.parquet"
)
@click.option("--bundle", required=True, help="A bundle; a small one makes many rows possible.")
@click.option("--texts", required=True, help="Parquet file whose column `text` the corpus is made of.")
@click.option("--rows", default=100_000, help="Rows of the smallest corpus.")
@click.option("--times", default="1,4,16", help="Sizes as multiples of it.")
@click.option("--repeated/--distinct", default=False, help="Let texts come again, which makes many gigabytes quick.")
@click.option("--unit-rows", default=25_000, help="Rows of a unit, so few that the smallest corpus busies all workers.")
@click.option("--workdir", default="runs/benchmarks/memory")
def main(bundle: str, texts: str, rows: int, times: str, repeated: bool, unit_rows: int, workdir: str) -> None:
    """Score corpora of several sizes and print the peak memory of each."""
    for factor in (int(part) for part in times.split(",")):
        name = f"corpus-{rows * factor}" + ("-repeated" if repeated else "")
        corpus = make_corpus(Path(workdir) / name, Path(texts), rows * factor, repeated=repeated)
        print_result({"factor": factor} | measure(bundle, corpus, Path(workdir) / "scores", unit_rows))
        shutil.rmtree(corpus)


def make_corpus(directory: Path, texts: Path, num_rows: int, *, repeated: bool) -> Path:
    """Write real texts and return the directory; unless `repeated`, each gets a number, so that none comes twice."""
    if (directory / "done").exists():
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    source = cycle(parquet.read_table(texts)["text"].to_pylist())
    for start in range(0, num_rows, ROWS_PER_FILE):
        count = min(ROWS_PER_FILE, num_rows - start)
        part = [text if repeated else f"{row} {text}" for row, text in enumerate(islice(source, count), start)]
        table = pa.table({"id": pa.array(range(start, start + count)), "text": part})
        parquet.write_table(table, directory / f"{start:09d}.parquet", row_group_size=ROW_GROUP_ROWS)
    (directory / "done").touch()
    return directory


def measure(bundle: str, corpus: Path, output: Path, unit_rows: int) -> dict[str, float]:
    """Run the scoring job once and return rows, seconds and the peaks of its memory in MiB."""
    shutil.rmtree(output, ignore_errors=True)
    with tempfile.TemporaryFile() as out:
        command = [sys.executable, "-m", "jobs.score_reviews", "--bundle", bundle, "--input", str(corpus)]
        started = time.monotonic()
        options = ["--output", str(output), "--unit-rows", str(unit_rows)]
        process = subprocess.Popen([*command, *options], stdout=out)
        peak: Counter[str] = Counter()
        while process.poll() is None:
            now = _memory(process.pid)
            if _own(now) > _own(peak):
                peak = now
            time.sleep(EVERY_S)
        out.seek(0)
        result = json.loads(out.read().splitlines()[-1])
    size = sum(file.stat().st_size for file in corpus.glob("*.parquet"))
    return {
        "rows": result["rows_scored"],
        "corpus_mib": round(size / 2**20),
        "text_mib": round(_text_bytes(corpus) / 2**20),
        "seconds": round(time.monotonic() - started, 1),
        "peak_mib": round(_own(peak) / 2**10),
        "of_which_mib": {name: round(size / 2**10) for name, size in peak.most_common()},
    }


def _own(memory: Counter[str]) -> int:
    return memory.total() - memory[OBJECT_STORE]


def _text_bytes(corpus: Path) -> int:
    files = [parquet.ParquetFile(path).metadata for path in corpus.glob("*.parquet")]
    groups = [file.row_group(index) for file in files for index in range(file.num_row_groups)]
    return sum(group.column(1).total_uncompressed_size for group in groups)


def _memory(pid: int) -> Counter[str]:
    """Return KiB of a process and all below it by kind of process, and of the object store."""
    sizes: Counter[str] = Counter()
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return sizes
    for process in processes:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
            kind = "driver" if process.pid == pid else _kind_of(process.cmdline())
        except (OSError, psutil.Error):
            continue
        parts = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
        sizes[kind] += parts.get("Pss_Anon", 0) + parts.get("Pss_File", 0)
        sizes[OBJECT_STORE] += parts.get("Pss_Shmem", 0)
    return sizes


def _kind_of(command: list[str]) -> str:
    """Return what a process of Ray's is for: the name of its actor, or Ray itself."""
    name = command[0] if command else ""
    if "Scorer" in name:
        return "scorers"
    return name.removeprefix("ray::") if name.startswith("ray::") else "ray"


if __name__ == "__main__":
    run(main)

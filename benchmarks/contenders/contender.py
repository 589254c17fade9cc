"""Shared by all contenders: the arguments and the result line; knows no library that is measured."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Task:
    """The arguments of a contender; `rest` holds the flags that only one contender knows."""

    bundle: str
    checkpoint: str
    optimum: str
    input: str
    output: str
    threads: int
    max_tokens: int
    rest: list[str]


def parse_task(description: str | None) -> Task:
    """Read the command line; `max_tokens` is that of the bundle."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True, help="directory that export_bundle wrote")
    parser.add_argument("--checkpoint", default="", help="directory of the same model, as transformers saves it")
    parser.add_argument("--optimum", default="", help="directory of the same model, exported by optimum-cli")
    parser.add_argument("--input", required=True, help="directory of Parquet files with the columns id and text")
    parser.add_argument("--output", required=True, help="directory for the rows with a column of labels")
    parser.add_argument("--threads", type=int, default=2, help="threads that may compute at a time")
    known, rest = parser.parse_known_args()
    manifest = json.loads((Path(known.bundle) / "bundle.json").read_text(encoding="utf-8"))
    if manifest.get("truncation", {}).get("mode", "head") != "head":
        parser.error(f"--bundle {known.bundle}: other libraries read the head of a text. Use a bundle that does so too")
    return Task(**vars(known), max_tokens=manifest["max_tokens"], rest=rest)


@contextmanager
def timed(task: Task) -> Iterator[None]:
    """Time the block, which reads, scores and writes, and print its rows and seconds.

    The driver adds `seconds_total`, the lifetime of the process, to this line.
    """
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    from pyarrow import dataset

    rows = dataset.dataset(task.output, partitioning="hive").count_rows()
    result = {"rows": rows, "seconds_scoring": round(seconds, 3), "threads": task.threads}
    sys.stdout.write(json.dumps(result) + "\n")

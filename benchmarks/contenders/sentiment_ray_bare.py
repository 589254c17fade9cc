"""This project's Predictor in a plain loop over the files, without Ray: the upper bound for the job on the same cores.

`--processes 2` divides the files and the threads between two processes. The default is one process.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
from contender import parse_task, timed
from pyarrow import parquet

from sentiment_ray import Predictor

predictor: Predictor


def load(bundle: str, threads: int) -> None:
    """Load the bundle, once in each process."""
    global predictor
    predictor = Predictor.load(bundle, threads=threads)


def score_file(path: Path, output: str) -> None:
    """Score one file and write it under the same name."""
    table = parquet.read_table(path)
    scores = predictor.score(table["text"].to_pylist())
    labels = [predictor.labels[index] for index in scores.label_ids]
    parquet.write_table(table.append_column("label", pa.array(labels)), Path(output) / path.name)


def main() -> None:
    """Score every file, in this process or in a pool of new ones."""
    task = parse_task(__doc__)
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=1)
    processes = parser.parse_args(task.rest).processes
    Path(task.output).mkdir(parents=True)
    files = sorted(Path(task.input).glob("*.parquet"))
    threads = task.threads // processes
    with timed(task):
        if processes == 1:
            load(task.bundle, threads)
            for path in files:
                score_file(path, task.output)
        else:
            context = get_context("spawn")
            with ProcessPoolExecutor(processes, context, initializer=load, initargs=(task.bundle, threads)) as pool:
                list(pool.map(score_file, files, [task.output] * len(files)))


if __name__ == "__main__":
    main()
